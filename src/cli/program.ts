/**
 * The command line: a table of verbs. Each verb's work is in its own file under cli/, loaded when it is called, so that
 * `tungate status` does not pay for what `tungate up` needs. Verbs talk to the daemon by its API only.
 */
import { Command, CommanderError, type OptionValues } from 'commander';
import { CliError, Exit, type Options, talk, type VerbModule } from './verb.js';

interface Verb {
  readonly name: string;
  readonly arguments?: string;
  readonly summary: string;
  readonly details?: string;
  readonly options?: readonly (readonly [flags: string, text: string])[];
  readonly example: string;
  /** Absent: made by the completion library. */
  readonly load?: () => Promise<VerbModule>;
}

const JSON_OPTION = ['--json', 'print JSON'] as const;
const CONFIG_OPTION = ['-c, --config <file>', 'config file (default: /etc/tungate/tungate.yaml)'] as const;
const RUNTIME_OPTIONS = [
  [
    '--runtime-dir <dir>',
    'where daemons keep their sockets and tables (default: TUNGATE_RUNTIME_DIR, then /run/tungate)',
  ],
  ['--name <name>', 'which daemon, a folder of the runtime directory (default: default)'],
] as const;

const VERBS: readonly Verb[] = [
  {
    name: 'up',
    summary: 'run the router in the foreground; Ctrl-C or SIGTERM puts everything back',
    details:
      'SIGHUP reloads the config. SIGUSR2 ends and hands over: the TUN, the steering and the flows stay for the next "tungate up".',
    options: [
      CONFIG_OPTION,
      ['--take-over', 'if one runs already, ask it to hand over: the shortest way to another version'],
      ...RUNTIME_OPTIONS,
    ],
    example: 'sudo tungate up -c tungate.yaml',
    load: () => import('./up.js'),
  },
  {
    name: 'stop',
    summary: 'stop the router and put the kernel back as it was',
    options: [['--keep', 'hand over: leave TUN, steering and flows for the next start'], ...RUNTIME_OPTIONS],
    example: 'tungate stop --keep && tungate up -c tungate.yaml',
    load: () => import('./stop.js'),
  },
  {
    name: 'reload',
    summary: 'read the config again; errors are shown and change nothing',
    options: [JSON_OPTION, ...RUNTIME_OPTIONS],
    example: 'tungate check -c tungate.yaml && tungate reload',
    load: () => import('./reload.js'),
  },
  {
    name: 'check',
    summary: 'say everything that is wrong with a config file',
    details:
      'Also says what this host lacks for it (an interface, an address). Needs no privilege and changes nothing.',
    options: [CONFIG_OPTION, JSON_OPTION],
    example: 'tungate check -c tungate.yaml',
    load: () => import('./check.js'),
  },
  {
    name: 'init',
    summary: 'write a commented config for this host',
    details: 'Finds the uplink (the default route) and the private networks. "-c -" prints it.',
    options: [CONFIG_OPTION, ['--force', 'overwrite the file']],
    example: 'tungate init -c tungate.yaml',
    load: () => import('./init.js'),
  },
  {
    name: 'status',
    summary: 'what the router does now',
    options: [JSON_OPTION, ...RUNTIME_OPTIONS],
    example: 'tungate status --json | jq .flows',
    load: () => import('./status.js'),
  },
  {
    name: 'flows',
    arguments: '[action] [file]',
    summary: 'list live flows; delete, export or import them',
    details:
      'flows                list\n' +
      'flows delete         end the flows that the filter names (at least one option of it)\n' +
      'flows export FILE|-  write flows and mappings, to be imported after a reboot, elsewhere, or by another version\n' +
      'flows import FILE|-  take them over, as far as the config in force would make them again',
    options: [
      ['-p, --proto <protocol>', 'tcp, udp, icmp, … or a number'],
      ['-s, --src <address>', 'source of the first packet, address or prefix'],
      ['-d, --dst <address>', 'destination of the first packet, address or prefix'],
      ['--sport <port>', 'source port of the first packet'],
      ['--dport <port>', 'destination port of the first packet'],
      ['--limit <n>', 'at most so many'],
      ['-o, --output <format>', 'table, conntrack (as "conntrack -L" prints them) or json (default: table)'],
      JSON_OPTION,
      ...RUNTIME_OPTIONS,
    ],
    example: 'tungate flows -p tcp -s 172.22.161.0/24 -o conntrack',
    load: () => import('./flows.js'),
  },
  {
    name: 'rules',
    summary: 'list forwards and outbound rules with their counters',
    options: [JSON_OPTION, ...RUNTIME_OPTIONS],
    example: 'tungate rules',
    load: () => import('./rules.js'),
  },
  {
    name: 'links',
    arguments: '[action] [name]',
    summary: 'site links and their peers: endpoint, last handshake, traffic, what was rejected',
    details:
      'links                list\n' +
      'links fdb [NAME]     which MAC address is where: forwarding tables of the VXLAN links, as "bridge fdb show" has them',
    options: [JSON_OPTION, ...RUNTIME_OPTIONS],
    example: 'tungate links',
    load: () => import('./links.js'),
  },
  {
    name: 'link',
    arguments: '<action> [file]',
    summary: 'make a site link from a wg-quick file',
    details:
      'link import FILE     adds conf.d/NAME.yaml beside the config; keys go into files of mode 0600\n' +
      'What a router does otherwise is said, with its line. Hooks (PostUp and the like) are refused.',
    options: [
      CONFIG_OPTION,
      ['--as <name>', 'name of the link (default: that of the file)'],
      ['--keys <dir>', 'folder for key files (default: keys beside the config)'],
      ['--stdout', 'print the link instead of adding it; keys are written all the same'],
    ],
    example: 'sudo tungate link import /etc/wireguard/hq.conf && sudo tungate reload',
    load: () => import('./link.js'),
  },
  {
    name: 'forward',
    arguments: '<action> [what...]',
    summary: 'add, remove or list forwards of the running router',
    details:
      'forward add SPEC     as in the config: [ADDRESS:]PORTS:TARGET[:PORTS][/PROTO,...]\n' +
      'forward remove NAME  as "forward list" says it\n' +
      'forward list\n' +
      'What is added is written to conf.d/90-tungate.yaml beside the config and stays over restarts, unless --temporary.',
    options: [
      ['--as <name>', 'add: its name in metrics, rules and errors'],
      ['--from <prefixes>', 'add: only these sources, separated by commas'],
      ['--temporary', 'add: until the router stops; a crash or a hand-over is no stop'],
      JSON_OPTION,
      ...RUNTIME_OPTIONS,
    ],
    example: 'tungate forward add 2222:172.22.161.10:22/tcp --as ssh-of-vm-10 --from 198.51.100.0/24',
    load: () => import('./forward.js'),
  },
  {
    name: 'block',
    arguments: '<address>',
    summary: 'exchange nothing more with an address or prefix; "block list" lists',
    details:
      'Ends its flows at once. Written to conf.d/90-tungate.yaml beside the config and stays over restarts, unless --temporary.',
    options: [
      ['--for <time>', 'how long: 90, 90s, 10m, 2h, 7d (default: until it is unblocked)'],
      ['--temporary', 'until the router stops; a crash or a hand-over is no stop'],
      JSON_OPTION,
      ...RUNTIME_OPTIONS,
    ],
    example: 'tungate block 198.51.100.0/24 --for 1h',
    load: () => import('./block.js'),
  },
  {
    name: 'unblock',
    arguments: '<address>',
    summary: 'take an address or prefix off the block list',
    options: [JSON_OPTION, ...RUNTIME_OPTIONS],
    example: 'tungate unblock 198.51.100.0/24',
    load: () => import('./unblock.js'),
  },
  {
    name: 'top',
    summary: 'who is busy now: rates, inside hosts, forwards',
    options: [
      ['--once', 'print one look and end'],
      ['--interval <seconds>', 'between two looks (default: 1)'],
      JSON_OPTION,
      ...RUNTIME_OPTIONS,
    ],
    example: 'tungate top --once',
    load: () => import('./top.js'),
  },
  {
    name: 'capture',
    summary: 'packets as they come in and as they leave, with their verdict, as pcapng',
    details:
      'Interface 0 is before, 1 after translation; a packet seen coming is also seen leaving. Ends with Ctrl-C or --seconds.',
    options: [
      ['-w, --write <file>', 'where to; "-" is standard output (default: -)'],
      ['--address <prefix>', 'only packets from or to it'],
      ['--port <port>', 'only TCP and UDP from or to it'],
      ['-p, --proto <protocol>', 'tcp, udp, icmp, … or a number'],
      ['--point <point>', 'pre, post or both (default: both)'],
      ['--snap <bytes>', 'kept of each packet (default: all)'],
      ['--seconds <n>', 'end after so long'],
      ...RUNTIME_OPTIONS,
    ],
    example: 'tungate capture -w - --address 172.22.161.20 | tshark -r -',
    load: () => import('./capture.js'),
  },
  {
    name: 'trace',
    arguments: '<address[:port]> [dst[:port]] [proto]',
    summary: 'what becomes of a packet, stage by stage, and which rule decides; changes nothing',
    details:
      'trace ADDRESS                       waits for the next packet from or to it, and says what became of that\n' +
      'trace SRC[:PORT] DST[:PORT] [PROTO] what would become of such a packet, which nobody has to send',
    options: [
      ['-n, --count <n>', 'live: so many packets, 1 to 100 (default: 1)'],
      ['-d, --dst <address>', 'live: only between the two, address or prefix'],
      ['-p, --proto <protocol>', 'live: only tcp, udp, icmp, … or a number'],
      ['--seconds <n>', 'live: how long to wait (default: 30)'],
      JSON_OPTION,
      ...RUNTIME_OPTIONS,
    ],
    example: 'tungate trace 172.22.161.20 -p udp -n 3',
    load: () => import('./trace.js'),
  },
  {
    name: 'wg',
    arguments: '<interface>',
    summary: 'a bare WireGuard interface, set up by wg and wg-quick; in place of wireguard-go',
    details:
      'Goes into the background when its socket in /var/run/wireguard answers. Ends when the interface or the socket is removed.\n' +
      'LOG_LEVEL (silent, error, verbose) as with wireguard-go.',
    options: [['-f, --foreground', 'stay in the foreground and log to stderr']],
    example: 'WG_QUICK_USERSPACE_IMPLEMENTATION=tungate-wg wg-quick up wg0',
    load: () => import('./wg.js'),
  },
  {
    name: 'genkey',
    summary: 'print a new private key for WireGuard',
    example: 'umask 077; tungate genkey > private.key',
    load: async () => ({ run: (await import('./keys.js')).genkey }),
  },
  {
    name: 'pubkey',
    arguments: '[file]',
    summary: 'print the public key of a private key that is read from stdin or a file',
    example: 'tungate pubkey < private.key > public.key',
    load: async () => ({ run: (await import('./keys.js')).pubkey }),
  },
  {
    name: 'genpsk',
    summary: 'print a new preshared key for WireGuard',
    example: 'umask 077; tungate genpsk > preshared.key',
    load: async () => ({ run: (await import('./keys.js')).genpsk }),
  },
  {
    name: 'clean',
    summary: 'undo what a crashed router left in the kernel',
    options: [JSON_OPTION, ...RUNTIME_OPTIONS],
    example: 'sudo tungate clean',
    load: () => import('./clean.js'),
  },
  {
    name: 'doctor',
    summary: 'check this host: kernel, privileges, firewall rules in the way; each with the remedy',
    options: [CONFIG_OPTION, JSON_OPTION],
    example: 'sudo tungate doctor -c tungate.yaml',
    load: () => import('./doctor.js'),
  },
  {
    name: 'install-service',
    summary: 'put a systemd unit in place, and the user that it runs as; starts nothing',
    options: [
      CONFIG_OPTION,
      ['--print', 'only print the unit'],
      ['--root <dir>', 'write below this folder, for those who build packages'],
    ],
    example: 'tungate install-service --print',
    load: () => import('./install-service.js'),
  },
  {
    name: 'demo',
    arguments: '[arguments...]',
    summary: 'show the router at work on real traffic, in network namespaces of its own',
    example: 'tungate demo',
    load: () => import('./demo.js'),
  },
  {
    name: 'completion',
    arguments: '<shell>',
    summary: 'print the completion script for zsh, bash, fish or powershell',
    example: 'tungate completion bash > /etc/bash_completion.d/tungate',
  },
  {
    name: 'version',
    summary: 'print the version',
    options: [JSON_OPTION],
    example: 'tungate version',
    load: () => import('./version.js'),
  },
];

let exitCode = 0;

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('tungate');
  program
    .description('Userspace NAT router for Linux: SNAT, port forwards and hairpin on a TUN device.')
    .exitOverride()
    .showHelpAfterError('(tungate --help lists the verbs)')
    .addHelpText('after', '\nExit codes: 0 ok, 1 failed, 2 usage or config, 3 daemon not running, 77 no privilege.');
  const completing = argv[2] === 'completion' || argv[2] === 'complete';
  const asked = VERBS.find(({ name }) => name === argv[2]);
  // One is soon made; all of them take a while, which `up` does not have.
  for (const verb of asked && !completing ? [asked] : VERBS) if (verb.load || !completing) addVerb(program, verb);
  if (completing) {
    // Costly, and of use to shells only. Its `complete` asks for what the table above says.
    const { default: tab } = await import('@bomb.sh/tab/commander');
    tab(program, { completionCommandName: 'completion' });
  }
  await program.parseAsync([...argv]);
}

function addVerb(program: Command, verb: Verb): void {
  const command = program
    .command(verb.name)
    .summary(verb.summary)
    .description(`${verb.summary[0]!.toUpperCase()}${verb.summary.slice(1)}.${verb.details ? `\n${verb.details}` : ''}`)
    .addHelpText('after', `\nExample:\n  $ ${verb.example}`)
    .showHelpAfterError(`(tungate ${verb.name} --help)`);
  for (const argument of verb.arguments?.split(' ') ?? []) command.argument(argument);
  for (const [flags, text] of verb.options ?? []) command.option(flags, text);
  command.action(async (...parameters: unknown[]) => {
    const options = command.opts<OptionValues>() as Options;
    // One parameter an argument, a list where it may be several, undefined where it is not there; then two of commander's own.
    const args = (parameters.slice(0, -2) as (string | string[] | undefined)[]).flatMap((value) => value ?? []);
    if (!verb.load) throw new CliError(Exit.USAGE, `"${verb.name}" must be the first word: ${verb.example}`);
    exitCode = (await (await verb.load()).run(options, args)) ?? Exit.OK;
  });
}

/** Says what went wrong and returns the exit code for it. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // commander has said it already; asking for help is no error, leaving out the verb is.
    return error.exitCode === 0 ? Exit.OK : Exit.USAGE;
  }
  const known = error instanceof Error ? error : new Error(String(error));
  talk(`tungate: ${known.message}`);
  const lines = 'lines' in known ? known.lines : 'errors' in known ? known.errors : [];
  if (Array.isArray(lines)) for (const line of lines) talk(String(line));
  if (process.env.TUNGATE_DEBUG) talk(known.stack ?? '');
  return 'exit' in known && typeof known.exit === 'number' ? known.exit : Exit.FAILED;
}

// A reader that had enough (`| head`) is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? Exit.OK : Exit.FAILED),
);

try {
  await main(process.argv);
  process.exitCode = exitCode;
} catch (error) {
  process.exitCode = report(error);
}
