/**
 * Two web servers, the first preferred; observers in front of both; users who ask through them again
 * and again; and all that may befall the first server. Network namespaces and real processes, for
 * the test of failover and for its benchmark.
 * @module
 */
import { type Lab, Peer, pause, START_MS } from './lab.ts';
import { PYTHON } from './machine.ts';

/** Where the servers listen. */
export const SERVER_PORT = 8080;
export const A = '10.79.1.2';
export const B = '10.79.2.2';
const OTHER = '10.79.1.9';
/** Answers in a row that tell that all is well. */
const CALM = 10;
const LOOK_MS = 20;
/** How long the second server has no company while both are dead. */
const LONELY_MS = 2_000;

/** One question of a user, and who answered it: `a`, `b`, or a dash for nobody. */
export interface Answer {
  readonly port: string;
  /** When, in ms since 1970. */
  readonly asked: number;
  readonly answered: number;
  readonly who: string;
}

/** What may befall the first server. Both resolve once it is so. */
export interface Fault {
  begin(): unknown;
  end(): unknown;
}

export interface SceneOptions {
  /** The commands that watch the servers and carry the users' connections. */
  readonly observers: readonly (readonly [string, ...string[]])[];
  /** Where those let the users in. */
  readonly ports: readonly string[];
}

export class FailoverScene {
  readonly observers: readonly Peer[];
  readonly #lab: Lab;
  readonly #spaces: { readonly client: string; readonly a: string; readonly b: string };
  readonly #ports: readonly string[];
  readonly #users: Peer;
  readonly #device: string;
  readonly #answers: Answer[] = [];
  #server: Peer;
  #forger: Peer | undefined;

  constructor(lab: Lab, { observers, ports }: SceneOptions) {
    this.#lab = lab;
    this.#ports = ports;
    const [client, a, b] = [lab.space('c'), lab.space('a'), lab.space('b')];
    this.#spaces = { client, a, b };
    this.#device = lab.join(client, '10.79.1.1', a, A).b;
    lab.join(client, '10.79.2.1', b, B);
    this.#server = this.#serve(a, 'a');
    this.#serve(b, 'b');
    this.observers = observers.map((words) => new Peer(lab.spawn(client, ...words)));
    this.#users = lab.start(client, 'test/support/peer-web-users.ts', ...ports);
  }

  /** The namespace of users and observers. */
  get client(): string {
    return this.#spaces.client;
  }

  /** Every answer to a question asked since then, oldest first. */
  answersSince(from: number): Answer[] {
    for (const line of this.#users.lines.slice(this.#answers.length)) {
      this.#answers.push(JSON.parse(line) as Answer);
    }
    return this.#answers.slice(this.#answers.findLastIndex(({ asked }) => asked < from) + 1);
  }

  /**
   * Waits until `who` has answered every user ten times in a row, to questions asked since then.
   * Resolves with when the first of those answers came.
   */
  async answered(who: string, since: number, boundMs: number = START_MS): Promise<number> {
    const end = performance.now() + boundMs;
    for (;;) {
      const answers = this.answersSince(since);
      const first = this.#ports.map((port) => {
        const own = answers.filter((answer) => answer.port === port);
        const calm = own.slice(own.findLastIndex((answer) => answer.who !== who) + 1);
        return calm.length < CALM ? Infinity : (calm[0]?.answered ?? Infinity);
      });
      const latest = Math.max(...first);
      if (latest < Infinity) return latest;
      if (performance.now() > end) {
        const last = JSON.stringify(answers.slice(-9));
        throw new Error(`${who} does not answer everybody within ${boundMs} ms: ${last}`);
      }
      await pause(LOOK_MS);
    }
  }

  /** All faults, by their names. */
  get faults(): Readonly<Record<string, Fault>> {
    return { ...this.#faultsOfTheServer(), ...this.#faultsOfTheWay(), ...this.#otherFaults() };
  }

  #faultsOfTheServer(): Record<string, Fault> {
    return {
      'process killed': {
        begin: () => this.#server.signal('SIGKILL'),
        end: () => this.#restart(),
      },
      'process stopped': {
        begin: () => this.#server.signal('SIGSTOP'),
        end: () => this.#server.signal('SIGCONT'),
      },
      'port closed': {
        begin: () => this.#tell('close', 'closed'),
        end: () => this.#tell('open', 'listening'),
      },
      'answers after 3 s': {
        begin: () => this.#server.tell('slow'),
        end: () => this.#server.tell('fast'),
      },
      reboot: {
        begin: () => {
          // In this order, so that nobody is told of the end: connections stay, half open.
          this.#lab.run(this.#spaces.a, 'ip', 'link', 'set', this.#device, 'down');
          this.#server.signal('SIGKILL');
        },
        end: async () => {
          await this.#restart();
          this.#lab.run(this.#spaces.a, 'ip', 'link', 'set', this.#device, 'up');
        },
      },
    };
  }

  #faultsOfTheWay(): Record<string, Fault> {
    const { a } = this.#spaces;
    const end = () => this.#heal(a);
    return {
      'dropped on the way there': { begin: () => this.#drop(a, ['input']), end },
      'dropped on the way back': { begin: () => this.#drop(a, ['output']), end },
      'dropped both ways': { begin: () => this.#drop(a, ['input', 'output']), end },
      '30 % lost each way': { begin: () => this.#drop(a, ['input', 'output'], 30), end },
      'another address': {
        begin: () => this.#address(OTHER, A),
        end: () => this.#address(A, OTHER),
      },
      'a forged RST': {
        begin: () => this.#forge(),
        end: () => this.#forger?.signal('SIGKILL'),
      },
    };
  }

  #otherFaults(): Record<string, Fault> {
    const { a, b } = this.#spaces;
    const signal = (name: NodeJS.Signals) => {
      for (const observer of this.observers) observer.signal(name);
    };
    return {
      'observers stopped': { begin: () => signal('SIGSTOP'), end: () => signal('SIGCONT') },
      'both dead': {
        begin: async () => {
          this.#drop(a, ['input', 'output']);
          await pause(LONELY_MS);
          this.#drop(b, ['input', 'output']);
        },
        end: async () => {
          this.#heal(b);
          await pause(LONELY_MS);
          this.#heal(a);
        },
      },
    };
  }

  #serve(space: string, name: string): Peer {
    const server = 'test/support/peer-web-server.ts';
    return this.#lab.start(space, server, name, String(SERVER_PORT));
  }

  async #restart(): Promise<void> {
    this.#server = this.#serve(this.#spaces.a, 'a');
    await this.#server.line('listening', START_MS);
  }

  async #tell(word: string, answer: string): Promise<void> {
    const seen = this.#server.lines.length;
    this.#server.tell(word);
    await this.#server.line(answer, START_MS, seen);
  }

  /** Drops what comes in or goes out of a server, all or so much of it. */
  #drop(space: string, hooks: readonly string[], percent = 100): void {
    const some = percent === 100 ? [] : ['numgen', 'random', 'mod', '100', '<', String(percent)];
    this.#lab.run(space, 'nft', 'add table inet fault');
    for (const hook of hooks) {
      const chain = `${hook}s { type filter hook ${hook} priority -10; }`;
      this.#lab.run(space, 'nft', `add chain inet fault ${chain}`);
      this.#lab.run(space, 'nft', 'add', 'rule', 'inet', 'fault', `${hook}s`, ...some, 'drop');
    }
  }

  #heal(space: string): void {
    this.#lab.run(space, 'nft', 'delete table inet fault');
  }

  #address(to: string, from: string): void {
    const { a } = this.#spaces;
    // In this order, for the second address of a network goes with the first.
    this.#lab.run(a, 'ip', 'addr', 'del', `${from}/24`, 'dev', this.#device);
    this.#lab.run(a, 'ip', 'addr', 'add', `${to}/24`, 'dev', this.#device);
  }

  /** One RST into the next check of each observer that asks anything: HEAD, and HAProxy's GET. */
  async #forge(): Promise<void> {
    const program = 'test/support/peer-forged-reset.py';
    const words = [program, String(SERVER_PORT), 'HEAD ', 'GET / HTTP/1.0'];
    const forger = new Peer(this.#lab.spawn(this.#spaces.a, ...PYTHON, ...words));
    this.#forger = forger;
    await forger.line('forged HEAD', START_MS);
  }
}
