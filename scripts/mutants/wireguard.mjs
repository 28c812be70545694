// Ways to break WireGuard's core: handshakes, cookies, sessions, the replay window, timers, allowed IPs, the text protocol of wg(8).
import { inFile, mutant } from './collect.mjs';

const SESSION = 'link/wireguard/session';

inFile('src/link/wireguard/noise.ts', 'link/wireguard/noise');
mutant(
  54,
  'the preshared key is not mixed in',
  '    const [chain, mixed, key] = kdf(3, this.chain, psk);',
  '    const [chain, mixed, key] = kdf(3, this.chain, psk.slice().fill(0));',
);
mutant(
  54,
  'the transcript is not authenticated',
  '    crypto.seal(key, NONCE_ZERO, out, off, text.length, this.hash);',
  '    crypto.seal(key, NONCE_ZERO, out, off, text.length, null);',
);
mutant(54, 'the ephemeral secret stays in memory', '    wipe(this.#ephemeral);', '');
inFile('src/link/wireguard/send.ts', SESSION);
mutant(
  54,
  'padding goes beyond the MTU',
  'padded > mtu ? Math.max(mtu, last) : padded',
  'padded > mtu ? padded : padded',
);
mutant(55, 'an initiator never renews', 'if (session.stale(now)) sendInitiation', 'if (false) sendInitiation');
mutant(
  58,
  'the destination does not choose the peer',
  'if (id < 0) return Outcome.NO_PEER;',
  'if (id < 0) return Outcome.BAD_PACKET;',
);
inFile('src/link/wireguard/receive.ts', SESSION, 'link/wireguard/fuzz');
mutant(58, 'any inner source is taken', '!== peer.id) return Outcome.BAD_SOURCE;', '< -1) return Outcome.BAD_SOURCE;');
mutant(56, 'counters are not checked', 'if (!session.window.accept(c.lo[i]!, c.hi[i]!)) return Outcome.REPLAYED;', '');
mutant(
  55,
  'old sessions still receive',
  'if (session.expired(now) || counterSpent(lo, hi)) return',
  'if (counterSpent(lo, hi)) return',
);
mutant(
  55,
  'who only receives never renews',
  'peer.askedToRenew = true;\n  sendInitiation(device, peer, now);',
  'peer.askedToRenew = true;',
);
mutant(58, 'the endpoint does not follow', 'copyEndpoint(c.endpoint, i * ENDPOINT_WORDS, peer.endpoint, 0);\n  }', '}');
inFile('src/link/wireguard/replay.ts', 'link/wireguard/replay');
mutant(56, 'a block of the window is not cleared', 'for (let i = 1; i <= Math.min', 'for (let i = 2; i <= Math.min');
mutant(
  56,
  'the window is one too wide',
  'if (behind > WINDOW) return false;',
  'if (behind > WINDOW + 32) return false;',
);
mutant(56, 'the last counters are used', 'if (counterSpent(lo, hi)) return false;', '');
inFile('src/link/wireguard/keypair.ts', SESSION);
mutant(
  55,
  'both sides renew by age',
  '(this.initiator && now - this.created >= this.renewAfter)',
  '(now - this.created >= this.renewAfter)',
);
mutant(56, 'counters never ask for a new session', 'this.hi >>> 0 >= REKEY_AFTER_HI ||', 'false ||');
mutant(55, 'keys stay in memory', '    this.ring.remove(this.receive);', '');
inFile('src/link/wireguard/peer.ts', SESSION, 'link/wireguard/weather');
mutant(
  54,
  'the responder sends before it was heard',
  'ended.push(this.next);\n      this.next = made;',
  'ended.push(this.next, this.previous);\n      this.previous = this.current;\n      this.current = made;',
);
inFile('src/link/wireguard/timers.ts', SESSION);
mutant(55, 'no jitter', '((random & 0xffff) * REKEY_JITTER) >>> 16', '((random & 0xffff) * REKEY_JITTER) >>> 6');
mutant(55, 'initiations for ever', 'if (this.attempts >= HANDSHAKE_ATTEMPTS) {', 'if (false) {');
mutant(
  55,
  'no passive keepalive',
  'this.#set(Timer.KEEPALIVE, now + KEEPALIVE_TIMEOUT);\n    else this.#again',
  '{}\n    else this.#again',
);
mutant(55, 'a silent peer is believed', 'if (this.#at[Timer.RENEW] === NEVER) this.#set', 'if (false) this.#set');
inFile('src/link/wireguard/handshakes.ts', SESSION, 'link/wireguard/cookie');
mutant(57, 'mac1 is not looked at', 'if (!checker.mac1Right(c.data, off, len)) return Outcome.BAD_MAC;', '');
mutant(
  57,
  'old initiations are answered',
  'if (compareTimestamps(stamp, peer.newestTimestamp) <= 0) return',
  'if (false) return',
);
mutant(
  57,
  'no limit of initiations',
  'if (now - peer.lastInitiationReceived < INITIATION_GAP) return',
  'if (false) return',
);
mutant(
  57,
  'strangers under load are worked on',
  'if (device.load.arrived(now)) {',
  'if (device.load.arrived(now) && false) {',
);
mutant(55, 'initiations without a pause', 'if (now - peer.lastInitiationSent < REKEY_TIMEOUT) {', 'if (false) {');
inFile('src/link/wireguard/device.ts', SESSION);
mutant(
  57,
  'timestamps follow the clock back',
  'if (compareTimestamps(stamp, this.#lastTimestamp) <= 0) stamp',
  'if (false) stamp',
);
mutant(
  54,
  'nobody is greeted',
  'if (peer?.hasEndpoint && peer.current === null) sendInitiation',
  'if (peer?.hasEndpoint && false) sendInitiation',
);
inFile('src/link/wireguard/cookie.ts', 'link/wireguard/cookie');
mutant(
  57,
  'a cookie is good for every port',
  'const length = remoteBytes(endpoint, epOff, this.#remote);',
  'const length = remoteBytes(endpoint, epOff, this.#remote) - 2;',
);
mutant(
  57,
  'cookies live for ever',
  'return now - this.#cookieMade < COOKIE_LIFE &&',
  'return now - this.#cookieMade < 1e12 &&',
);
mutant(57, 'addresses under load are not counted', 'if (found[0] < 1) return false;', '');
inFile('src/link/wireguard/prefix-trie.ts', 'link/wireguard/allowed-ips');
mutant(
  58,
  'the shortest prefix wins',
  'if (this.#value[node] !== NONE) found = this.#value[node]!;',
  'if (this.#value[node] !== NONE && found === NONE) found = this.#value[node]!;',
);
mutant(
  58,
  'a fork keeps the wrong side',
  'this.#put(fork, made);\n    this.#put(fork, node);',
  'this.#put(fork, node);',
);
inFile('src/link/wireguard/uapi.ts', 'link/wireguard/uapi');
mutant(59, 'update_only makes peers', 'if (known === undefined && change.updateOnly) return;', '');
mutant(59, 'allowed IPs are not replaced', 'if (change.replaceAllowedIps) device.allowedIps.removePeer(peer.id);', '');
mutant(59, 'zero is a private key', 'secret.every((byte) => byte === 0) ? null : secret', 'secret');
