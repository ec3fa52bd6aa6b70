import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { BpfMachine } from '../../test/support/bpf-machine.ts';
import { bpfMissing } from '../../test/support/rights.ts';
import { nearEnds, nearRule, trieLookup } from '../../test/support/rules.ts';
import {
  BPF_MAP_LPM_TRIE,
  BPF_SETSOCKOPT,
  BPF_SOCK_OPS,
  closing,
  createMap,
  loadProgram,
} from '../sys/bpf.ts';
import { isMappedV4, parseIp } from '../wire/ip-address.ts';
import { applyProgram, lockProgram } from './policy-programs.ts';
import {
  decodeRule,
  type Ends,
  encodeRuleKey,
  encodeRuleValue,
  MOST_RULES,
  matchRule,
  RULE_KEY_LENGTH,
  RULE_VALUE_LENGTH,
  type Rule,
} from './rule.ts';

const RULES_FD = 5;
const [AF_UNIX, AF_INET, AF_INET6] = [1, 2, 10] as const;
const [SOL_SOCKET, TCP, UDP] = [1, 6, 17] as const;
/** Callbacks of sock_ops (linux/bpf.h) that begin a connection's life, and one that does not. */
const [CONNECTING, ACTIVE, PASSIVE] = [3, 4, 5] as const;

/** Every option that was set: level, name, value. */
type Calls = [level: number, name: number, value: number][];

/** What a program did, and the rules with what it counted. */
interface Outcome {
  readonly result: bigint;
  readonly calls: Calls;
  readonly counted: readonly { readonly applied: number; readonly failed: number }[];
  readonly context: DataView;
}

interface Kernel {
  readonly rules?: readonly Rule[];
  /** Options that the kernel refuses, by name. */
  readonly refuses?: readonly number[];
}

/** Runs a program with helpers 1 (look up) and 49 (setsockopt) as bpf-helpers(7) describes them. */
function run(
  program: Uint8Array,
  prepare: (machine: BpfMachine) => DataView,
  { rules = [], refuses = [] }: Kernel,
): Outcome {
  const calls: Calls = [];
  const values = rules.map(encodeRuleValue);
  const machine = new BpfMachine({
    1: (there, map, key) => {
      assert.equal(map, trie);
      const bytes = there.bytes(key ?? 0n, RULE_KEY_LENGTH);
      return trieLookup(entries, bytes) ?? 0n;
    },
    49: (there, from, level, name, value, length) => {
      assert.equal(from, context);
      assert.equal(length, 4n);
      const bytes = there.bytes(value ?? 0n, 4);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      calls.push([Number(level), Number(name), view.getInt32(0, true)]);
      return refuses.includes(Number(name)) ? -22n : 0n;
    },
  });
  const entries = rules.map(
    (rule, index) =>
      [encodeRuleKey(rule), machine.pointer(values[index] ?? new Uint8Array())] as const,
  );
  const trie = machine.pointer(new Uint8Array());
  const view = prepare(machine);
  const context = machine.pointer(new Uint8Array(view.buffer));
  const result = machine.run(program, context, { [RULES_FD]: trie });
  const counted = rules.map((rule, index) =>
    decodeRule(encodeRuleKey(rule), values[index] ?? new Uint8Array()),
  );
  return { result, calls, counted, context: view };
}

/** The 16 bytes of an address as a socket of that family has them: 4, or 16. */
function addressOf({ remoteAddress }: Ends, family: number): Uint8Array {
  const bytes = parseIp(remoteAddress) as Uint8Array;
  return family === AF_INET ? bytes.subarray(12) : bytes;
}

/** AF_INET only where the address is one; an IPv6 socket talks both. */
function familyOf({ remoteAddress }: Ends, six: boolean): number {
  return six || !isMappedV4(parseIp(remoteAddress) as Uint8Array) ? AF_INET6 : AF_INET;
}

/** `struct bpf_sock_ops`: addresses and the remote port in network order, that one in 32 bits. */
function sockOps(ends: Ends, family: number, op: number): DataView {
  const view = new DataView(new ArrayBuffer(184));
  view.setUint32(0, op, true);
  view.setUint32(20, family, true);
  new Uint8Array(view.buffer).set(addressOf(ends, family), family === AF_INET ? 24 : 32);
  // A big-endian 16-bit port, moved to the upper half of a little-endian word.
  view.setUint16(66, ends.remotePort, false);
  view.setUint32(68, ends.localPort, true);
  return view;
}

/** `struct bpf_sockopt` that leads to a `struct bpf_sock`. */
function sockopt(
  machine: BpfMachine,
  ends: Ends,
  family: number,
  [level, name, protocol = TCP]: readonly [level: number, name: number, protocol?: number],
): DataView {
  const sock = new DataView(new ArrayBuffer(80));
  sock.setUint32(4, family, true);
  sock.setUint32(8, 1, true);
  sock.setUint32(12, protocol, true);
  sock.setUint32(44, ends.localPort, true);
  sock.setUint16(48, ends.remotePort, false);
  new Uint8Array(sock.buffer).set(addressOf(ends, family), family === AF_INET ? 52 : 56);
  const view = new DataView(new ArrayBuffer(40));
  view.setBigUint64(0, machine.pointer(new Uint8Array(sock.buffer)), true);
  view.setInt32(24, level, true);
  view.setInt32(28, name, true);
  view.setInt32(32, 4, true);
  return view;
}

const apply = applyProgram(RULES_FD).encode();
const lock = lockProgram(RULES_FD).encode();
const ENDS: Ends = { localPort: 40_000, remotePort: 5_432, remoteAddress: '10.0.0.5' };
const RULE: Rule = {
  port: 5_432,
  to: undefined,
  options: {
    enabled: true,
    timeMs: 61_000,
    intervalMs: 11_000,
    probes: 4,
    userTimeoutMs: 105_000,
  },
  lock: true,
};
/** All five options of a rule; SO_KEEPALIVE starts the clock, with its values in place. */
const callsOf = ({ options }: Rule): Calls => [
  [TCP, 5, options.intervalMs / 1_000],
  [TCP, 6, options.probes],
  [TCP, 18, options.userTimeoutMs],
  [TCP, 4, options.timeMs / 1_000],
  [SOL_SOCKET, 9, 1],
];

suite('the program that applies rules to new connections', () => {
  for (const [what, op, calls] of [
    ['made', ACTIVE, callsOf(RULE)],
    ['accepted', PASSIVE, callsOf(RULE)],
    ['only being made', CONNECTING, []],
  ] as const) {
    test(`sets ${calls.length} options of a connection that is ${what}`, () => {
      const outcome = run(apply, () => sockOps(ENDS, AF_INET, op), { rules: [RULE] });
      assert.deepEqual(outcome.calls, calls);
      assert.equal(outcome.result, 1n);
      assert.equal(outcome.counted[0]?.applied, calls.length === 0 ? 0 : 1);
      assert.equal(outcome.counted[0]?.failed, 0);
    });
  }

  for (let op = 0; op <= 20; op += 1) {
    if (op === ACTIVE || op === PASSIVE) continue;
    test(`does nothing for callback ${op}`, () => {
      const outcome = run(apply, () => sockOps(ENDS, AF_INET, op), { rules: [RULE] });
      assert.deepEqual([outcome.calls, outcome.result], [[], 1n]);
    });
  }

  for (const name of [4, 5, 6, 9, 18]) {
    test(`counts a connection that refuses option ${name} as failed, once, and lets it go on`, () => {
      const kernel = { rules: [RULE], refuses: [name] };
      const { result, calls, counted } = run(apply, () => sockOps(ENDS, AF_INET, ACTIVE), kernel);
      assert.deepEqual(calls, callsOf(RULE));
      assert.equal(result, 1n);
      assert.deepEqual([counted[0]?.applied, counted[0]?.failed], [0, 1]);
    });
  }

  test('leaves other families alone, and connections without a rule', () => {
    const unix = run(apply, () => sockOps(ENDS, AF_UNIX, ACTIVE), { rules: [RULE] });
    assert.deepEqual([unix.calls, unix.result], [[], 1n]);
    const none = run(apply, () => sockOps(ENDS, AF_INET, ACTIVE), {});
    assert.deepEqual([none.calls, none.result], [[], 1n]);
  });

  test('of any rules it applies the one that matchRule finds, in both families', () => {
    let matched = 0;
    const rules = fc.array(nearRule, { maxLength: 8 });
    fc.assert(
      fc.property(rules, nearEnds, fc.boolean(), fc.constantFrom(ACTIVE, PASSIVE), (...given) => {
        const [all, ends, six, op] = given;
        const outcome = run(apply, () => sockOps(ends, familyOf(ends, six), op), { rules: all });
        const rule = matchRule(all, ends);
        assert.equal(outcome.result, 1n);
        assert.deepEqual(outcome.calls, rule === undefined ? [] : callsOf(rule));
        const applied = outcome.counted.map((one) => one.applied);
        assert.deepEqual(
          applied,
          all.map((one) => (one === rule ? 1 : 0)),
        );
        if (rule !== undefined) matched += 1;
      }),
      { numRuns: 800 },
    );
    assert(matched > 200, `${matched} matched`);
  });
});

suite('the program that locks', () => {
  const length = ({ context }: Outcome) => context.getInt32(32, true);
  const ours = [
    [TCP, 4],
    [TCP, 5],
    [TCP, 6],
    [TCP, 18],
    [SOL_SOCKET, 9],
  ] as const;

  for (const option of ours) {
    test(`swallows level ${option[0]}, option ${option[1]}: a length of −1, and success`, () => {
      const outcome = run(lock, (machine) => sockopt(machine, ENDS, AF_INET, option), {
        rules: [RULE],
      });
      assert.deepEqual([length(outcome), outcome.result], [-1, 1n]);
      assert.deepEqual([outcome.calls, outcome.counted[0]?.applied], [[], 0]);
    });
  }

  test('lets every other option of the first 64 of five levels through', () => {
    for (const level of [0, SOL_SOCKET, TCP, UDP, 41]) {
      for (let name = 0; name < 64; name += 1) {
        const isOurs = ours.some((option) => option[0] === level && option[1] === name);
        const outcome = run(lock, (machine) => sockopt(machine, ENDS, AF_INET, [level, name]), {
          rules: [RULE],
        });
        assert.equal(length(outcome), isOurs ? -1 : 4, `level ${level}, option ${name}`);
        assert.equal(outcome.result, 1n);
      }
    }
  });

  for (const [what, kernel, ends, family, protocol] of [
    ['a rule that does not lock', { rules: [{ ...RULE, lock: false }] }, ENDS, AF_INET, TCP],
    ['no rule', { rules: [] }, ENDS, AF_INET, TCP],
    ['another protocol', { rules: [RULE] }, ENDS, AF_INET, UDP],
    ['another family', { rules: [RULE] }, ENDS, AF_UNIX, TCP],
    ['a socket that is not connected', { rules: [{ ...RULE, port: 0 }] }, 0, AF_INET, TCP],
  ] as const) {
    test(`lets SO_KEEPALIVE through for ${what}`, () => {
      const there = ends === 0 ? { ...ENDS, remotePort: 0 } : ends;
      const option = [SOL_SOCKET, 9, protocol] as const;
      const prepare = (machine: BpfMachine) => sockopt(machine, there, family, option);
      const outcome = run(lock, prepare, kernel);
      assert.deepEqual([length(outcome), outcome.result], [4, 1n]);
    });
  }

  test('lets an option through where the kernel tells no socket', () => {
    const view = new DataView(new ArrayBuffer(40));
    view.setInt32(24, SOL_SOCKET, true);
    view.setInt32(28, 9, true);
    view.setInt32(32, 4, true);
    const outcome = run(lock, () => view, { rules: [RULE] });
    assert.deepEqual([length(outcome), outcome.result], [4, 1n]);
  });

  test('of any rules it asks the one that matchRule finds, in both families', () => {
    const seen = { locked: 0, free: 0 };
    const rules = fc.array(nearRule, { maxLength: 8 });
    fc.assert(
      fc.property(rules, nearEnds, fc.boolean(), fc.constantFrom(...ours), (...given) => {
        const [all, ends, six, option] = given;
        const family = familyOf(ends, six);
        const prepare = (machine: BpfMachine) => sockopt(machine, ends, family, option);
        const outcome = run(lock, prepare, { rules: all });
        const locked = matchRule(all, ends)?.lock === true;
        assert.deepEqual([length(outcome), outcome.result], [locked ? -1 : 4, 1n]);
        seen[locked ? 'locked' : 'free'] += 1;
      }),
      { numRuns: 800 },
    );
    assert(seen.locked > 60 && seen.free > 60, JSON.stringify(seen));
  });
});

suite('both programs and the real verifier', { skip: bpfMissing() }, () => {
  for (const [name, kind, program] of [
    ['apply', BPF_SOCK_OPS, applyProgram],
    ['lock', BPF_SETSOCKOPT, lockProgram],
  ] as const) {
    test(`${name} is accepted, its ${program(0).encode().length / 8} instructions`, () => {
      const map = createMap({
        type: BPF_MAP_LPM_TRIE,
        name: 'linkhold_test',
        keyLength: RULE_KEY_LENGTH,
        valueLength: RULE_VALUE_LENGTH,
        mostEntries: MOST_RULES,
      });
      closing(map, () => {
        const fd = loadProgram(kind, 'linkhold_test', program(map).encode());
        closing(fd, () => assert(fd > 2));
      });
    });
  }
});
