/**
 * `routes:` in the daemon's configuration: two gateways, a LAN behind a NAT and the kernel's own tables, in
 * network namespaces. `ip`, `conntrack` and a caller are the witnesses.
 */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { RouteStatus } from '../../src/daemon/route-runner.ts';
import { temporaryDirectory } from '../support/cli.ts';
import { Lab, labMissing, Peer, pause, START_MS } from '../support/lab.ts';
import { Machine, NOBODY, only, PYTHON, unrunnable, until } from '../support/machine.ts';

const CLI = 'src/cli/main.ts';
const SERVER = 'test/support/peer-server.ts';
const FAR = '10.80.9.9';
/** Asks the far end five times a second from one socket, and prints each answer. */
const CALLER = `
import socket, time
flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
flow.settimeout(0.2)
while True:
    flow.sendto(b'x', ('${FAR}', 9000))
    try: print('answer', flow.recv(9), flush=True)
    except OSError: pass
    time.sleep(0.1)
`;
const ANSWERER = `
import socket
flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
flow.bind(('${FAR}', 9000))
print('listening', flush=True)
while True: flow.sendto(*flow.recvfrom(9))
`;
/** Only a test that fails waits so long: 500 ms to know, a second to verify, and a busy machine. */
const BOUND_MS = 15_000;
/** Of a route after the verdict: the promise is 50 ms, this machine may be busy. */
const MOVE_BOUND_MS = 500;

const LINKS = `
links:
  a: { url: "beat://10.80.1.2:7000?key=lab", time: 300ms, interval: 100ms, probes: 2 }
  b: { url: "beat://10.80.2.2:7000?key=lab", time: 300ms, interval: 100ms, probes: 2 }
groups:
  wan: { failbackAfter: 1s, paths: [{ link: a, via: 10.80.1.2 }, { link: b, tier: 2, via: 10.80.2.2 }] }
  lost: { paths: [{ link: b, via: 192.168.77.1 }] }
  tunnel: { paths: [{ link: b, dev: lh-late }] }
  wan6:
    failbackAfter: 1s
    paths: [{ link: a, via: "fd80:1::2" }, { link: b, tier: 2, via: "fd80:2::2" }]
`;
const UPLINK = 'uplink: { destination: "0.0.0.0/0", group: wan }';

interface Gateways {
  readonly lab: Lab;
  /** The machine with the daemon, its two gateways, and a host of its LAN. */
  readonly home: string;
  readonly a: string;
  readonly b: string;
  readonly lan: string;
  /** The home's devices towards the gateways. */
  readonly toA: string;
  readonly toB: string;
}

/** home – a and b – far, and a LAN host behind home. Home has a default route by A, as a person would. */
async function gateways(t: TestContext): Promise<Gateways> {
  const lab = new Lab(t);
  const [home, a, b, far, lan] = ['h', 'a', 'b', 'f', 'l'].map((name) => lab.space(name)) as [
    string,
    string,
    string,
    string,
    string,
  ];
  const { a: toA, b: atA } = lab.join(home, '10.80.1.1', a, '10.80.1.2');
  const { a: toB, b: atB } = lab.join(home, '10.80.2.1', b, '10.80.2.2');
  lab.join(a, '10.80.3.1', far, '10.80.3.2');
  lab.join(b, '10.80.4.1', far, '10.80.4.2');
  lab.join(home, '10.80.5.1', lan, '10.80.5.2');
  const ip = (space: string, words: string) => lab.run(space, 'ip', ...words.split(' '));
  for (const space of [home, a, b]) lab.run(space, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  for (const [net, here, there, device, other] of [
    [1, home, a, toA, atA],
    [2, home, b, toB, atB],
  ] as const) {
    ip(here, `addr add fd80:${net}::1/64 dev ${device} nodad`);
    ip(there, `addr add fd80:${net}::2/64 dev ${other} nodad`);
  }
  ip(far, `addr add ${FAR}/32 dev lo`);
  ip(far, 'route add 10.80.1.0/24 via 10.80.3.1');
  ip(far, 'route add 10.80.2.0/24 via 10.80.4.1');
  ip(a, `route add ${FAR} via 10.80.3.2`);
  ip(b, `route add ${FAR} via 10.80.4.2`);
  ip(lan, 'route add default via 10.80.5.1');
  ip(home, 'route add default via 10.80.1.2');
  for (const [space, address] of [
    [a, '10.80.1.2'],
    [b, '10.80.2.2'],
  ] as const) {
    await lab.start(space, SERVER, address, '7000', 'x', 'lab').line('listening', START_MS);
  }
  await new Peer(lab.spawn(far, ...PYTHON, '-c', ANSWERER)).line('listening', START_MS);
  return { lab, home, a, b, lan, toA, toB };
}

/** A daemon at home whose file holds these routes, its events, and what its API says of them. */
function daemonOf(t: TestContext, { lab, home }: Gateways) {
  const directory = temporaryDirectory(t);
  const file = path.join(directory, 'linkhold.yaml');
  const write = (...routes: readonly string[]) => {
    const lines = routes.length === 0 ? '' : ['routes:', ...routes].join('\n  ');
    writeFileSync(file, `${LINKS}${lines}\n`);
  };
  const start = () => lab.start(home, CLI, 'run', file, '--json', '--state-dir', directory);
  const question = `fetch('http://127.0.0.1:7117/api/v1/routes').then((r) => r.text()).then(console.log)`;
  const routes = (): RouteStatus[] =>
    JSON.parse(lab.run(home, process.execPath, '-e', question)).items;
  return { write, start, routes };
}

function ipRoute({ lab, home }: Gateways, words = 'default', family = '-4'): string[] {
  const lines = lab.run(home, 'ip', family, 'route', 'show', ...words.split(' ')).split('\n');
  return lines.filter(Boolean).map((line) => line.trim());
}

/** Every change of the tables of home, with the kernel's time in µs, as told by `ip monitor`. */
async function monitor({ lab, home }: Gateways): Promise<Peer> {
  const watcher = new Peer(lab.spawn(home, 'stdbuf', '-oL', 'ip', '-ts', '-o', 'monitor', 'route'));
  // It says nothing until it hears something, and the kernel nothing of what is there already.
  let metric = 0;
  await until(() => {
    metric += 1;
    lab.run(home, 'ip', 'route', 'add', '192.0.2.1', 'dev', 'lo', 'metric', String(metric));
    return watcher.lines.length > 0;
  }, 'a first word of ip monitor');
  return watcher;
}

/** Ends a daemon and waits for it. */
async function stop(daemon: Peer): Promise<void> {
  daemon.signal('SIGTERM');
  assert.equal(await daemon.exited, 0, daemon.errors);
}

const eventOf = (line: string) => JSON.parse(line).event as { at: string; text: string };
const stampOf = (line: string) => Date.parse(`${/^\[([^\]]+)\]/.exec(line)?.[1]}Z`);

const NEEDS = { skip: labMissing() };

suite('routes', { concurrency: 3, timeout: 120_000 }, () => {
  test(
    'three routes, IPv4, IPv6 and in another table, move at once with the verdict, come back, and leave what was there before',
    NEEDS,
    async (t) => {
      const world = await gateways(t);
      const { write, start, routes } = daemonOf(t, world);
      write(
        UPLINK,
        'uplink6: { destination: "::/0", group: wan6 }',
        `other: { destination: "10.0.0.0/8", table: 1000, group: wan, metric: 7 }`,
      );
      const before = ipRoute(world);
      const watcher = await monitor(world);
      const daemon = start();
      const held = async (gate: string, via6: string) => {
        const tables = [['default'], ['10.0.0.0/8 table 1000'], ['default', '-6']] as const;
        await until(
          () => tables.every((words) => ipRoute(world, ...words)[0]?.includes('proto 76')),
          'three routes of ours',
        );
        assert.match(ipRoute(world)[0] ?? '', new RegExp(`via ${gate} dev \\w+ proto 76`));
        assert.match(
          ipRoute(world, 'default', '-6')[0] ?? '',
          new RegExp(`via ${via6} .*metric 1`),
        );
        const other = ipRoute(world, '10.0.0.0/8 table 1000');
        assert.equal(other.length, 1);
        assert.match(other[0] ?? '', new RegExp(`via ${gate} .*metric 7`));
        assert.match(world.lab.run(world.home, 'ip', 'route', 'get', FAR), new RegExp(gate));
      };
      await until(() => ipRoute(world)[0]?.includes('proto 76'), 'a first route');
      await held('10.80.1.2', 'fd80:1::2');
      assert.deepEqual(ipRoute(world).slice(1), before, 'what was there stays behind');

      for (const [from, to, gate, via6] of [
        ['a', 'b', '10.80.2.2', 'fd80:2::2'],
        ['b', 'a', '10.80.1.2', 'fd80:1::2'],
      ] as const) {
        const [seen, heard] = [daemon.lines.length, watcher.lines.length];
        if (to === 'b') world.lab.cut(world.a);
        else world.lab.heal(world.a);
        for (const [group, words] of [
          ['wan', `default via ${gate}`],
          ['wan6', `default via ${via6}`],
          ['wan', `10.0.0.0/8 via ${gate}`],
        ] as const) {
          const said = `"group":"${group}","type":"switch","from":"${from}"`;
          const verdict = eventOf(await daemon.line(said, BOUND_MS, seen));
          const took = stampOf(await watcher.line(words, BOUND_MS, heard)) - Date.parse(verdict.at);
          t.diagnostic(
            `${from} → ${to}: ${words} in the kernel ${took.toFixed(1)} ms after the verdict`,
          );
          assert(took < MOVE_BOUND_MS, `${took} ms`);
        }
        const changes = watcher.lines.slice(heard).join('\n');
        assert.doesNotMatch(changes, /Deleted/, 'never without a route');
        await held(gate, via6);
        for (const { path: name, held: isHeld, why, foreign } of routes()) {
          assert.deepEqual([name, isHeld, foreign], [to, true, null]);
          assert.match(why ?? '', /^a is (down|back)/);
        }
      }
      const said = world.lab.run(world.home, process.execPath, CLI, 'status');
      assert.match(said, /^ROUTE +TABLE +GROUP +IN USE +FOR +HELD +WHY$/m);
      assert.match(said, /^0\.0\.0\.0\/0 +254 +wan +a +\d+m?s +yes +a is back/m);
      assert.match(said, /^10\.0\.0\.0\/8 +1000 +wan +a +\d+m?s +yes +a is back/m);
      await stop(daemon);
      assert.deepEqual(ipRoute(world), before);
      assert.deepEqual(ipRoute(world, 'default', '-6'), []);
      assert.deepEqual(ipRoute(world, 'table all proto 76'), []);
    },
  );

  test(
    'killed with -9 it leaves a route that works; the next daemon takes it over on the path it is on, with onExit keep it stays',
    NEEDS,
    async (t) => {
      const world = await gateways(t);
      const { write, start, routes } = daemonOf(t, world);
      write('uplink: { destination: "0.0.0.0/0", group: wan, onExit: keep }');
      const first = start();
      await first.line('leads via 10.80.1.2', START_MS);
      world.lab.cut(world.a);
      await first.line('leads via 10.80.2.2', BOUND_MS);
      first.signal('SIGKILL');
      await first.exited;
      const call = async () => {
        const caller = new Peer(world.lab.spawn(world.home, ...PYTHON, '-c', CALLER));
        await caller.line('answer', BOUND_MS);
        caller.signal('SIGKILL');
      };
      await call();
      const watcher = await monitor(world);
      const second = start();
      await second.line('leads via 10.80.2.2: taken over', START_MS);
      await second.line('"link":"b","type":"state","from":"unknown","to":"up"', START_MS);
      const [row] = routes();
      assert.deepEqual([row?.path, row?.held], ['b', true]);
      await pause(1_500);
      assert.deepEqual(
        watcher.lines.filter((line) => line.includes('default')),
        [],
        'nothing moved',
      );
      await call();
      await stop(second);
      assert.match(ipRoute(world)[0] ?? '', /via 10.80.2.2 dev \w+ proto 76/);
    },
  );

  test(
    'what somebody else changes is told once, let alone until the next switch, and told when undone',
    NEEDS,
    async (t) => {
      const world = await gateways(t);
      const { write, start, routes } = daemonOf(t, world);
      const ip = (words: string) => world.lab.run(world.home, 'ip', 'route', ...words.split(' '));
      write(UPLINK);
      const daemon = start();
      await daemon.line('leads via 10.80.1.2', START_MS);
      const ours = ipRoute(world)[0] ?? '';

      // News of its device, with which no route goes.
      world.lab.run(world.home, 'ip', 'link', 'set', world.toA, 'mtu', '1400');
      ip('replace default via 10.80.5.2');
      await daemon.line('was changed by somebody else: via 10.80.5.2', BOUND_MS);
      const [row] = routes();
      assert.equal(row?.held, false);
      assert.match(
        row?.foreign ?? '',
        /^via 10\.80\.5\.2 dev \w+ proto 3 metric 0 is there instead$/,
      );
      await pause(1_500);
      assert.match(ipRoute(world)[0] ?? '', /^default via 10.80.5.2/);
      const told = daemon.lines.filter((line) => line.includes('somebody else'));
      assert.equal(told.length, 1, 'once for each change');

      ip('del default via 10.80.5.2');
      ip(`prepend ${ours}`);
      await daemon.line('again: somebody put it back', BOUND_MS);
      assert.equal(routes()[0]?.held, true);

      ip('del default proto 76');
      await daemon.line('was changed by somebody else: via 10.80.1.2', BOUND_MS);
      await pause(1_000);
      assert.deepEqual(ipRoute(world, 'default proto 76'), []);

      world.lab.cut(world.a);
      await daemon.line('leads via 10.80.2.2', BOUND_MS);
      assert.match(ipRoute(world)[0] ?? '', /via 10.80.2.2 dev \w+ proto 76/);
      assert.equal(routes()[0]?.held, true);
      ip('replace default via 10.80.5.2');
      await daemon.line('somebody else: via 10.80.5.2', BOUND_MS, daemon.lines.length - 1);
      await stop(daemon);
      assert.match(
        ipRoute(world)[0] ?? '',
        /^default via 10.80.5.2/,
        "the other's is not restored away",
      );
    },
  );

  test(
    'a route that goes with its device is put again; a device that is not there is told, and put when it is',
    NEEDS,
    async (t) => {
      const world = await gateways(t);
      const { write, start, routes } = daemonOf(t, world);
      write(
        'late: { destination: "10.99.0.0/16", group: tunnel }',
        'lost: { destination: "10.98.0.0/16", group: lost }',
        UPLINK,
      );
      const ip = (words: string) => world.lab.run(world.home, 'ip', ...words.split(' '));
      const daemon = start();
      await daemon.line('there is no device lh-late', START_MS);
      await daemon.line('ENETUNREACH; is 192.168.77.1 on a network of this machine?', START_MS);
      await daemon.line('leads via 10.80.1.2', START_MS);
      assert.deepEqual(
        routes().map(({ held, failure }) => [held, failure !== null]),
        [
          [false, true],
          [false, true],
          [true, false],
        ],
      );
      ip('link add lh-late type veth peer name lh-late2');
      ip('link set lh-late up');
      await daemon.line('leads dev lh-late', BOUND_MS);
      assert.match(ipRoute(world, '10.99.0.0/16')[0] ?? '', /^10.99.0.0\/16 dev lh-late proto 76/);

      const seen = daemon.lines.length;
      ip('link set lh-late down');
      await daemon.line('went with its device', BOUND_MS, seen);
      ip('link set lh-late up');
      await daemon.line('leads dev lh-late', BOUND_MS, seen);
      assert.match(ipRoute(world, '10.99.0.0/16')[0] ?? '', /^10.99.0.0\/16 dev lh-late proto 76/);
      await stop(daemon);
    },
  );

  test('nothing is touched until a path has proved itself', NEEDS, async (t) => {
    const world = await gateways(t);
    const { write, start, routes } = daemonOf(t, world);
    write(UPLINK);
    world.lab.cut(world.a);
    world.lab.cut(world.b);
    const before = ipRoute(world);
    const daemon = start();
    await daemon.line('no path is up; staying on a', START_MS);
    const [row] = routes();
    assert.deepEqual([row?.path, row?.held, row?.failure], [null, false, null]);
    assert.deepEqual(ipRoute(world), before);
    world.lab.heal(world.b);
    await daemon.line('leads via 10.80.2.2', BOUND_MS);
    assert.match(ipRoute(world)[0] ?? '', /via 10.80.2.2 dev \w+ proto 76/);
    await stop(daemon);
  });

  test(
    'what the kernel refuses, or puts behind another route, is told; it is put once that is gone',
    NEEDS,
    async (t) => {
      const world = await gateways(t);
      const { write, start, routes } = daemonOf(t, world);
      const other = 'default via fd80:2::2 metric 1'.split(' ');
      world.lab.run(world.home, 'ip', '-6', 'route', 'add', ...other);
      write(
        'uplink6: { destination: "::/0", group: wan6 }',
        'behind: { destination: "0.0.0.0/0", group: wan, metric: 50 }',
      );
      const daemon = start();
      await daemon.line('EEXIST; another route has metric 1: give this one a lower one', START_MS);
      await daemon.line('the kernel took it, but via 10.80.1.2 dev', START_MS);
      assert.deepEqual(
        routes().map(({ held, failure }) => [held, failure === null]),
        [
          [false, false],
          [false, false],
        ],
      );
      assert.match(ipRoute(world, 'default', '-6')[0] ?? '', /^default via fd80:2::2 /);
      world.lab.run(world.home, 'ip', '-6', 'route', 'del', ...other);
      await daemon.line('leads via fd80:1::2', BOUND_MS);
      assert.match(ipRoute(world, 'default', '-6')[0] ?? '', /^default via fd80:1::2 .*proto 76/);
      await stop(daemon);
      assert.deepEqual(ipRoute(world, 'table all proto 76'), []);
    },
  );

  test('a reload changes what differs without a moment without a route', NEEDS, async (t) => {
    const world = await gateways(t);
    const { write, start, routes } = daemonOf(t, world);
    write(UPLINK);
    const daemon = start();
    await daemon.line('leads via 10.80.1.2', START_MS);
    const watcher = await monitor(world);
    const reload = async () => {
      const seen = daemon.lines.length;
      daemon.signal('SIGHUP');
      await daemon.line('reloaded', START_MS, seen);
    };
    write('up: { destination: "0.0.0.0/0", group: wan, oldFlows: reset }');
    await reload();
    assert.deepEqual(
      routes().map(({ name, held, oldFlows }) => [name, held, oldFlows]),
      [['up', true, 'reset']],
    );
    assert.doesNotMatch(watcher.lines.join('\n'), /Deleted/);
    write();
    await reload();
    await watcher.line('Deleted default via 10.80.1.2', BOUND_MS);
    assert.deepEqual(routes(), []);
    await stop(daemon);
  });

  for (const oldFlows of ['reset', 'drain', 'keep'] as const) {
    test(`old flows behind a NAT: ${oldFlows}`, NEEDS, async (t) => {
      const world = await gateways(t);
      const { lab, home, lan, toA, toB } = world;
      for (const rule of [
        'add table ip nat',
        'add chain ip nat post { type nat hook postrouting priority srcnat; }',
        // Not masquerade: that forgets its flows by itself when their device changes.
        `add rule ip nat post oifname "${toA}" snat to 10.80.1.1`,
        `add rule ip nat post oifname "${toB}" snat to 10.80.2.1`,
      ]) {
        lab.run(home, 'nft', rule);
      }
      const { write, start } = daemonOf(t, world);
      write(`uplink: { destination: "0.0.0.0/0", group: wan, grace: 3s, oldFlows: ${oldFlows} }`);
      const daemon = start();
      await daemon.line('leads via 10.80.1.2', START_MS);
      const caller = new Peer(lab.spawn(lan, ...PYTHON, '-c', CALLER));
      await caller.line('answer', START_MS);
      const flows = () =>
        lab
          .run(home, 'conntrack', '-L')
          .split('\n')
          .filter((line) => line.includes('dst='));
      const toFar = () => flows().filter((line) => line.includes(`dst=${FAR}`));
      const probes = () => flows().filter((line) => line.includes('dst=10.80.1.2'));
      assert.match(toFar().join('\n'), /udp .*dst=10\.80\.1\.1 /);
      const probe = / src=10\.80\.1\.1 dst=10\.80\.1\.2 sport=\d+ /.exec(probes()[0] ?? '')?.[0];
      assert(probe !== undefined, 'the link that watches A');

      lab.cut(world.a);
      await daemon.line('leads via 10.80.2.2', BOUND_MS);
      const heard = caller.lines.length;
      if (oldFlows === 'drain') {
        await caller.silence('answer', 1_000, heard);
        assert.match(toFar().join('\n'), /udp .*dst=10\.80\.1\.1 /);
      }
      if (oldFlows !== 'keep') {
        await daemon.line('old flows by a (10.80.1.1) were reset: 1', BOUND_MS);
        await caller.line('answer', BOUND_MS, heard);
        assert.match(toFar().join('\n'), /udp .*dst=10\.80\.2\.1 /);
        assert(probes().join('\n').includes(probe), 'is let alone');
      } else {
        await caller.silence('answer', 1_500, heard);
        assert.match(toFar().join('\n'), /udp .*dst=10\.80\.1\.1 /);
      }
    });
  }

  test('as nobody it ends with 3 and one line that names CAP_NET_ADMIN, which alone is enough', {
    skip: unrunnable(NOBODY),
  }, async (t) => {
    const machine = new Machine(t);
    const directory = temporaryDirectory(t);
    chmodSync(directory, 0o777);
    const file = path.join(directory, 'linkhold.yaml');
    writeFileSync(file, `${LINKS}routes:\n  ${UPLINK}\n`);
    const args = ['run', file, '--state-dir'];
    const { code, stderr } = await machine.linkhold([...args, directory], { rights: NOBODY });
    assert.equal(code, 3, stderr);
    assert.match(stderr, /^linkhold: changing routes needs CAP_NET_ADMIN; [^\n]+\n$/);
    const daemon = machine.command([...args, temporaryDirectory(t)], { rights: only('net_admin') });
    await daemon.line(/runs .*linkhold\.yaml/, START_MS);
  });

  test('without CAP_NET_ADMIN a reload that brings a route names it, and all else of that file runs', {
    skip: unrunnable(only()),
  }, async (t) => {
    const machine = new Machine(t);
    const directory = temporaryDirectory(t);
    const file = path.join(directory, 'linkhold.yaml');
    const without = `
links: { a: { url: "beat://127.0.0.1:7000?key=k", time: 300ms, interval: 100ms, probes: 2 } }
respond: [{ listen: "127.0.0.1:7000", key: k }]
`;
    const withRoute = `${without}
groups: { wan: { paths: [{ link: a, dev: lo }] } }
relays: { r: { listen: "127.0.0.1:8000", group: wan } }
routes: { up: { destination: "10.9.0.0/16", group: wan } }
`;
    writeFileSync(file, without);
    const args = ['run', file, '--state-dir', directory];
    const daemon = machine.command(args, { rights: only() });
    await daemon.line(/ a {2}unknown → up/, START_MS);
    const told = () => daemon.lines.filter((line) => /CAP_NET_ADMIN/.test(line));
    for (const reload of [1, 2]) {
      writeFileSync(file, withRoute);
      daemon.kill('SIGHUP');
      await until(() => told().length === reload, 'the capability it needs');
      assert.match(told().at(-1) ?? '', /reloaded, but: changing routes needs CAP_NET_ADMIN; /);
      const { links, groups, relays, routes } = await machine.json<{
        readonly [kind in 'links' | 'groups' | 'relays' | 'routes']: readonly {
          readonly state?: string;
          readonly active?: string;
          readonly listen?: string;
        }[];
      }>(['status']);
      assert.deepEqual(
        [links[0]?.state, groups[0]?.active, relays[0]?.listen, routes],
        ['up', 'a', '127.0.0.1:8000', []],
      );
      writeFileSync(file, without);
      daemon.kill('SIGHUP');
      const done = () => daemon.lines.filter((line) => /reloaded \S+yaml/.test(line)).length;
      await until(() => done() === reload, 'a reload without it');
    }
    daemon.kill('SIGTERM');
    assert.equal((await daemon.ended()).code, 0);
  });
});
