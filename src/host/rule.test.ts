import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { bpfMissing } from '../../test/support/rights.ts';
import { nearEnds, nearRule, trieLookup } from '../../test/support/rules.ts';
import {
  BPF_MAP_LPM_TRIE,
  closing,
  createMap,
  deleteFromMap,
  mapEntries,
  updateMap,
} from '../sys/bpf.ts';
import { parseIp } from '../wire/ip-address.ts';
import {
  decodeRule,
  describeMatch,
  encodeRuleKey,
  encodeRuleValue,
  MOST_RULES,
  matchRule,
  parseTo,
  RULE_KEY_LENGTH,
  RULE_VALUE_LENGTH,
  type Rule,
} from './rule.ts';

/** `5432 to 10.0.0.0/8`, `to ::/0`, `22`, or nothing; told apart by `time`. */
function rule(text: string, time = 60): Rule {
  const [port = '', to] = text.split(/(?:^| )to /);
  return {
    port: Number(port),
    to: to === undefined ? undefined : parseTo(to, 'test'),
    options: {
      enabled: true,
      timeMs: time * 1_000,
      intervalMs: 10_000,
      probes: 3,
      userTimeoutMs: 90_000,
    },
    lock: false,
  };
}

suite('which rule a connection gets', () => {
  for (const [rules, ends, expected] of [
    [[], '1 → 10.0.0.5:2', undefined],
    [[''], '1 → 10.0.0.5:2', ''],
    [[''], '1 → [2001:db8::5]:2', ''],
    [['5432'], '40000 → 10.0.0.5:5432', '5432'],
    [['5432'], '5432 → 10.0.0.5:40000', '5432'],
    [['5432'], '40000 → 10.0.0.5:5433', undefined],
    // The remote port goes before the local one, that before none, whatever the prefixes.
    [['22', '5432'], '22 → 10.0.0.5:5432', '5432'],
    [['5432', '22 to 10.0.0.5'], '22 → 10.0.0.5:5432', '5432'],
    [['5432', 'to 10.0.0.5'], '40000 → 10.0.0.5:5432', '5432'],
    [['5432', 'to 10.0.0.5'], '5432 → 10.0.0.5:40000', '5432'],
    [['5432 to 10.0.0.0/8', '22'], '22 → 192.0.2.1:5432', '22'],
    [['5432 to 10.0.0.0/8', '22 to 10.0.0.0/8', ''], '22 → 192.0.2.1:5432', ''],
    // Among equals the longest prefix.
    [['to 10.0.0.0/8', 'to 10.0.0.0/24', 'to 10.0.0.0/16'], '1 → 10.0.0.5:2', 'to 10.0.0.0/24'],
    [['to 10.0.0.0/8', 'to 10.0.0.0/24', 'to 10.0.0.0/16'], '1 → 10.0.1.5:2', 'to 10.0.0.0/16'],
    [['to 10.0.0.0/8', '', 'to 0.0.0.0/0'], '1 → 11.0.0.5:2', 'to 0.0.0.0/0'],
    [['to 10.0.0.0/8', '', 'to 0.0.0.0/0'], '1 → [::1]:2', ''],
    [['to 10.0.0.5', 'to 10.0.0.4/31'], '1 → 10.0.0.5:2', 'to 10.0.0.5'],
    [['to 10.0.0.5', 'to 10.0.0.4/31'], '1 → 10.0.0.4:2', 'to 10.0.0.4/31'],
    [['7 to 10.0.0.0/8', '7'], '1 → 10.0.0.5:7', '7 to 10.0.0.0/8'],
    [['to fd00::/8', 'to fd00:1::/32'], '1 → [fd00:1::9]:2', 'to fd00:1::/32'],
    // IPv4 in IPv6's clothes is IPv4.
    [['to 10.0.0.0/8', ''], '1 → [::ffff:10.0.0.5]:2', 'to 10.0.0.0/8'],
    [['to ::/0'], '1 → 10.0.0.5:2', 'to ::/0'],
  ] as const) {
    test(`of ${rules.map((text) => `"${text}"`).join(', ') || 'none'}, ${ends} gets ${expected === undefined ? 'none' : `"${expected}"`}`, () => {
      const [, local, address = '', remote] = /^(\d+) → \[?([^\]]+?)\]?:(\d+)$/.exec(ends) ?? [];
      const given = rules.map((text) => rule(text));
      const found = matchRule(given, {
        localPort: Number(local),
        remotePort: Number(remote),
        remoteAddress: address,
      });
      assert.equal(found, given[(rules as readonly string[]).indexOf(expected ?? 'none')]);
    });
  }

  test('of the same rule twice the later one holds, as it does in the kernel', () => {
    const [early, late] = [rule('5432', 1), rule('5432', 2)];
    const ends = { localPort: 1, remotePort: 5_432, remoteAddress: '10.0.0.5' };
    assert.equal(matchRule([early, late], ends), late);
    assert.equal(matchRule([late, early], ends), early);
    // These two are one place in the kernel's table.
    assert.deepEqual(encodeRuleKey(rule('')), encodeRuleKey(rule('to ::/0')));
    const [any, zero] = [rule(''), rule('to ::/0')];
    assert.equal(matchRule([any, zero], ends), zero);
  });

  test('what is no address gets none', () => {
    const ends = { localPort: 1, remotePort: 2, remoteAddress: 'fe80::1%eth0' };
    assert.equal(matchRule([rule('')], ends), undefined);
  });

  test('finds what a longest-prefix trie finds for the remote port, the local one and none', () => {
    const outcomes = new Map<string, number>();
    fc.assert(
      fc.property(fc.array(nearRule, { maxLength: 12 }), nearEnds, (rules, ends) => {
        const entries = rules.map((one) => [encodeRuleKey(one), one] as const);
        const bytes = parseIp(ends.remoteAddress) as Uint8Array;
        const look = (port: number) =>
          trieLookup(entries, encodeRuleKey({ port, to: { bytes, length: 128 } }));
        const [remote, local, none] = [look(ends.remotePort), look(ends.localPort), look(0)];
        assert.equal(matchRule(rules, ends), remote ?? local ?? none);
        const what = remote ? 'remote' : local ? 'local' : none ? 'none' : 'nothing';
        outcomes.set(what, (outcomes.get(what) ?? 0) + 1);
      }),
      { numRuns: 3_000 },
    );
    assert(outcomes.size === 4 && [...outcomes.values()].every((count) => count > 100));
  });
});

suite('rules as the kernel holds them', () => {
  test('a key lies there as documented: bits, port, address', () => {
    const hex = (text: string) => Buffer.from(encodeRuleKey(rule(text))).toString('hex');
    const nothing = '00'.repeat(16);
    assert.equal(hex(''), `20000000 00000000 ${nothing}`.replaceAll(' ', ''));
    assert.equal(hex('5432'), `20000000 38150000 ${nothing}`.replaceAll(' ', ''));
    const ten = '00000000000000000000ffff0a000000';
    assert.equal(hex('22 to 10.0.0.0/8'), `88000000 16000000 ${ten}`.replaceAll(' ', ''));
    const six = '20010db8000000000000000000000007';
    assert.equal(hex('to 2001:db8::7'), `a0000000 00000000 ${six}`.replaceAll(' ', ''));
  });

  test('a value lies there as documented, its counters at 0', () => {
    const value = encodeRuleValue({ ...rule('', 61), lock: true });
    const words = '3d000000 0a000000 03000000 905f0100 01000000 00000000';
    const hex = words.replaceAll(' ', '') + '00'.repeat(16);
    assert.equal(Buffer.from(value).toString('hex'), hex);
  });

  test('a rule comes back from its key and value, with what was counted', () => {
    fc.assert(
      fc.property(nearRule, fc.maxSafeNat(), fc.maxSafeNat(), (given, applied, failed) => {
        const value = encodeRuleValue(given);
        const view = new DataView(value.buffer);
        view.setBigUint64(24, BigInt(applied), true);
        view.setBigUint64(32, BigInt(failed), true);
        // `::/0` is every connection.
        const to = given.to?.length === 0 ? undefined : given.to;
        assert.deepEqual(decodeRule(encodeRuleKey(given), value), {
          ...given,
          to,
          applied,
          failed,
        });
      }),
    );
  });

  test('two rules have the same key if and only if they are for the same connections', () => {
    const named = (one: Rule) => describeMatch({ ...one, to: one.to?.length ? one.to : undefined });
    fc.assert(
      fc.property(nearRule, nearRule, (one, other) => {
        const same = Buffer.from(encodeRuleKey(one)).equals(encodeRuleKey(other));
        assert.equal(same, named(one) === named(other));
      }),
      { numRuns: 1_000 },
    );
  });

  test('a real trie of 4,096 random rules gives back each, and the later one of two equal ones', {
    skip: bpfMissing(),
  }, () => {
    const shape = { keyLength: RULE_KEY_LENGTH, valueLength: RULE_VALUE_LENGTH } as const;
    const map = createMap({
      ...shape,
      type: BPF_MAP_LPM_TRIE,
      name: 'linkhold_test',
      mostEntries: MOST_RULES,
    });
    closing(map, () => {
      const rules = fc.sample(nearRule, { numRuns: MOST_RULES, seed: 7 });
      const expected = new Map<string, Rule>();
      for (const one of rules) {
        updateMap(map, encodeRuleKey(one), encodeRuleValue(one));
        expected.set(encodeRuleKey(one).join(), one);
      }
      assert(expected.size > 1_000 && expected.size < MOST_RULES, `${expected.size} different`);
      const held = new Map<string, Rule>();
      for (const { key, value } of mapEntries(map, RULE_KEY_LENGTH, RULE_VALUE_LENGTH)) {
        const { applied, failed, ...one } = decodeRule(key, value);
        assert.deepEqual([applied, failed], [0, 0]);
        assert(!held.has(key.join()), 'told twice');
        held.set(key.join(), one);
        assert.deepEqual(encodeRuleKey(one), key);
      }
      assert.deepEqual([...held.keys()].toSorted(), [...expected.keys()].toSorted());
      for (const [key, one] of expected) {
        const { to, ...others } = one;
        const { to: heldTo, ...heldOthers } = held.get(key) ?? rule('');
        assert.deepEqual(heldOthers, others);
        assert.deepEqual(heldTo, to?.length === 0 ? undefined : to);
      }
      for (const one of rules) {
        assert.equal(
          deleteFromMap(map, encodeRuleKey(one)),
          expected.delete(encodeRuleKey(one).join()),
        );
      }
      assert.deepEqual([...mapEntries(map, RULE_KEY_LENGTH, RULE_VALUE_LENGTH)], []);
    });
  });
});

suite('rules in words', () => {
  for (const [text, words] of [
    ['', 'every connection'],
    ['5432', 'port 5432'],
    ['to 10.1.2.3/8', 'to 10.0.0.0/8'],
    ['to 10.1.2.3', 'to 10.1.2.3'],
    ['22 to fd00::/8', 'port 22 to fd00::/8'],
    ['to 0.0.0.0/0', 'to 0.0.0.0/0'],
  ] as const) {
    test(`"${text}" is ${words}`, () => assert.equal(describeMatch(rule(text)), words));
  }

  test('a prefix is read with spaces around it', () => {
    assert.deepEqual(parseTo(' 10.0.0.0/8 ', '--to'), rule('to 10.0.0.0/8').to);
  });

  for (const text of ['', 'example.com', '10.0.0.0/33', '10.0.0.1-9', 'fe80::1%eth0']) {
    test(`--to "${text}" is refused with its place and with what to write`, () => {
      assert.throws(() => parseTo(text, '--to'), {
        name: 'UsageError',
        code: 'bad-prefix',
        message: `--to: "${text}" is no address or prefix; write an address or a prefix: 10.0.0.5, 10.0.0.0/8, fd00::/8`,
      });
    });
  }
});
