#!/usr/bin/env node
/**
 * The command line: which commands there are, and how their end becomes an exit code. Each command
 * is loaded when it is called.
 * @module
 */
import { Command, CommanderError } from 'commander';
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';
import { addTcpTimingFlags, addTimingFlags, DEFAULT_LISTEN } from './flags.ts';
import { plain } from './output.ts';
import { version } from './version.ts';

const USAGE = 2;
const CANNOT = 3;

const program = new Command('linkhold')
  .description('Keeps links held, makes their death known within a stated bound, and reroutes.')
  .version(version())
  .exitOverride()
  .configureOutput({ outputError: (text) => complain(text.replace(/^error: /, '')) })
  .showSuggestionAfterError()
  .configureHelp({ showGlobalOptions: false });

function command(usage: string, description: string, example: string): Command {
  return program
    .command(usage)
    .description(description)
    .option('--json', 'JSON on stdout')
    .addHelpText('after', `\nExample:\n  ${example}`);
}

function daemonCommand(usage: string, description: string, example: string): Command {
  return command(usage, description, example)
    .option(
      '--daemon <address:port>',
      "the daemon's API; with TLS https://NAME:PORT",
      DEFAULT_LISTEN,
    )
    .option('--state-dir <dir>', "the daemon's state directory, for its token");
}

function end(code: number): void {
  process.exitCode = code;
}

addTimingFlags(
  command('check <url...>', 'one verdict a link', 'linkhold check tcp://10.0.0.5:5432 --time 45s'),
).action(async (urls: string[], flags) =>
  end(await (await import('./check.ts')).check(urls, flags)),
);

addTimingFlags(
  command(
    'watch <url...>',
    'keep links and show them live until Ctrl-C',
    "linkhold watch tcp://10.0.0.5:5432 'beat://10.0.0.5:7200?key=SECRET'",
  ),
).action(async (urls: string[], flags) =>
  end(await (await import('./watch.ts')).watch(urls, flags)),
);

command('run [file]', 'the daemon', 'linkhold run linkhold.yaml')
  .option('--check', 'only check the file')
  .option('--listen <address:port>', 'where the API and the page listen', DEFAULT_LISTEN)
  .option('--state-dir <dir>', 'what outlives the daemon (default /var/lib/linkhold for root)')
  .option('--tls-cert <file>', 'the API speaks TLS with this certificate (PEM, with its chain)')
  .option('--tls-key <file>', 'and its key; SIGHUP reads both anew')
  .action(async (file: string | undefined, flags) =>
    end(await (await import('./run.ts')).run(file ?? 'linkhold.yaml', flags)),
  );

command(
  'respond',
  'answer beat:// links',
  'linkhold respond --listen 0.0.0.0:7200 --key-file /etc/linkhold/key',
)
  .requiredOption('--listen <address:port>', 'where to answer, UDP')
  .option('--key <secret>', 'the shared key (seen by others in the process list)')
  .option('--key-file <file>', 'a file with the shared key; or set LINKHOLD_KEY')
  .action(async (flags) => end(await (await import('./respond.ts')).respond(flags)));

function connectionCommand(usage: string, description: string, example: string): Command {
  return command(usage, description, example)
    .option('--port <port>', 'only connections with this port at either end')
    .option('--pid <pid>', 'only connections of this process, in its network namespace')
    .option('--netns <name>', 'in this network namespace: a name, a process id or a file');
}

connectionCommand('sockets', "this machine's TCP connections at risk", 'linkhold sockets --risky')
  .option('--risky', 'only those at risk; exit code 1 if there are any')
  .option('--all', 'loopback connections too')
  .action(async (flags) => end((await import('./sockets.ts')).sockets(flags)));

addTcpTimingFlags(
  connectionCommand(
    'protect',
    'give keepalive to connections of other programs, while they run',
    'linkhold protect --existing --new --port 5432 --time 60s --interval 10s --probes 3',
  ),
)
  .option('--existing', 'connections that exist')
  .option('--new', 'connections to come, until Ctrl-C')
  .option('--to <prefix>', 'only connections to this address or prefix, for example 10.0.0.0/8')
  .option('--cgroup <path>', 'only what this control group and those below it have')
  .option('--lock', 'with --new: the program cannot undo it')
  .option('--pin', 'with --new: in force until it is removed, also without us')
  .option('--list', 'the policies for new connections that are in force')
  .option('--remove', 'remove pinned policies: all, or by --port, --to and --cgroup')
  .option('--dry-run', 'change nothing, only tell')
  .action(async (flags) => end(await (await import('./protect.ts')).protect(flags)));

connectionCommand(
  'reset <connection>',
  'destroy a half-open connection, by its cookie or the ADDRESS:PORT of its far end',
  'linkhold reset 4f21',
).action(async (text: string, flags) => end((await import('./reset.ts')).reset(text, flags)));

daemonCommand('status', 'what a running daemon holds', 'linkhold status').action(async (flags) =>
  end(await (await import('./status.ts')).status(flags)),
);

for (const [verb, what] of [
  ['drain', 'take a link out, gently'],
  ['resume', 'take a drained link back in'],
] as const) {
  daemonCommand(`${verb} <name>`, what, `linkhold ${verb} db-a`).action(
    async (name: string, flags) =>
      end(await (await import('./drain.ts')).drainOrResume(verb, name, flags)),
  );
}

daemonCommand(
  'upgrade',
  'replace a running daemon by the installed version; relayed connections go on',
  'linkhold upgrade',
).action(async (flags) => end(await (await import('./upgrade.ts')).upgrade(flags)));

command(
  'export [file]',
  'everything a daemon remembers, as lines of JSON',
  'linkhold export linkhold.jsonl',
)
  .option('--state-dir <dir>', 'the state directory to read')
  .action(async (file: string | undefined, flags) =>
    end(await (await import('./export.ts')).exportState(file, flags)),
  );

command(
  'import <file>',
  'what `export` wrote, into an empty state directory',
  'linkhold import linkhold.jsonl',
)
  .option('--state-dir <dir>', 'the state directory to fill')
  .action(async (file: string, flags) =>
    end(await (await import('./import.ts')).importState(file, flags)),
  );

daemonCommand('events', 'what happened', 'linkhold events --link db --limit 20')
  .option('--link <name>', 'only this link or group')
  .option('--limit <count>', 'at most so many')
  .option('--since <id>', 'only events after this id')
  .action(async (flags) => end(await (await import('./events.ts')).events(flags)));

const token = program.command('token').description("who may use a daemon's API");

function tokenCommand(usage: string, description: string, example: string): Command {
  return token
    .command(usage)
    .description(description)
    .option('--json', 'JSON on stdout')
    .option('--state-dir <dir>', "the daemon's state directory")
    .addHelpText('after', `\nExample:\n  ${example}`);
}

tokenCommand(
  'add <name>',
  'make a token and show it, this once',
  'linkhold token add grafana --scope read',
)
  .requiredOption('--scope <scope>', 'read: only look; operate: change things too')
  .action(async (name: string, flags) => end((await import('./token.ts')).tokenAdd(name, flags)));

tokenCommand('list', 'the names of the tokens there are', 'linkhold token list').action(
  async (flags) => end((await import('./token.ts')).tokenList(flags)),
);

tokenCommand('remove <name>', 'end a token, at once', 'linkhold token remove grafana').action(
  async (name: string, flags) => end((await import('./token.ts')).tokenRemove(name, flags)),
);

command(
  'schema',
  'the JSON Schema of the configuration file, for editors',
  'linkhold schema > linkhold.schema.json',
).action(async () => end((await import('./schema.ts')).schema()));
command(
  'notify [channel]',
  'send a test message by each channel of a configuration',
  'linkhold notify --test ops --config linkhold.yaml',
)
  .requiredOption('--test', 'send it; there is nothing else to do')
  .option('--config <file>', 'the configuration', 'linkhold.yaml')
  .action(async (channel: string | undefined, flags) =>
    end(await (await import('./notify.ts')).notify(channel, flags)),
  );

/** One line on stderr. */
function complain(text: string): void {
  process.stderr.write(`linkhold: ${plain(text.trim().replaceAll(/\s+/g, ' '))}\n`);
}

/** One line, whatever went wrong. A stack trace is for our own mistakes only. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
  if (!(error instanceof UsageError || error instanceof SystemError)) throw error;
  complain(error.message);
  return error instanceof UsageError ? USAGE : CANNOT;
}

// A reader that went away (`| head`) is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  end(report(error));
}
