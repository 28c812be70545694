/** A LAN whose interface is gone: nothing for it may follow the kernel's default route out of the uplink. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Proto } from '../../src/contract/plan.js';
import { Verdict } from '../../src/contract/verdict.js';
import { parseAddress } from '../../src/control/address.js';
import { compile, formatErrors, parseConfig } from '../../src/control/index.js';
import { Action, Decision, Policy } from '../../src/policy/decide.js';
import { device, PROXMOX_ROUTES, world } from '../control/world-fixture.js';

const CONFIG = `
uplink: { interface: vmbr0 }
lans: [{ interface: vmbr1, subnet: 172.22.161.0/24 }, { interface: vmbr2, subnet: 10.77.0.0/16 }]
forwards: ["80:10.77.0.2:80", "81:172.22.161.2:81"]
`;

test('REQ-41, REQ-66 neither a forward nor a neighbour LAN is sent to a LAN that is gone', () => {
  const parsed = parseConfig(CONFIG, 't.yaml');
  if ('errors' in parsed) assert.fail(formatErrors(parsed.errors));
  const host = world(
    [device(3, 'vmbr0'), device(4, 'vmbr1')],
    ['3 203.0.113.8/24', '4 172.22.161.1/24'],
    PROXMOX_ROUTES,
  );
  const policy = new Policy(compile(parsed.config, host).plan);
  const decision = new Decision();
  const ask = (src: string, dst: string, port: number) => {
    policy.decide(decision, parseAddress(src), parseAddress(dst), 5000, port, Proto.TCP);
    return decision.action === Action.NONE ? decision.verdict : decision.action;
  };
  assert.equal(ask('198.51.100.1', '203.0.113.8', 80), Verdict.NO_ROUTE);
  assert.equal(ask('172.22.161.9', '203.0.113.8', 80), Verdict.NO_ROUTE);
  assert.equal(ask('172.22.161.9', '10.77.0.2', 80), Verdict.NO_ROUTE);
  assert.equal(ask('10.77.0.2', '198.51.100.1', 80), Verdict.NO_ROUTE);
  assert.equal(ask('198.51.100.1', '203.0.113.8', 81), Action.DNAT);
  assert.equal(ask('172.22.161.9', '198.51.100.1', 80), Action.SNAT);
});
