import assert from 'node:assert/strict';
import { mkdirSync, rmdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { descriptors } from '../../test/support/descriptors.ts';
import { bpfMissing } from '../../test/support/rights.ts';
import { nearRule } from '../../test/support/rules.ts';
import { asNobody, strangerMissing } from '../../test/support/stranger.ts';
import { cgroupRoot } from './mounts.ts';
import { listPolicies, Policy } from './policy.ts';
import { type CountedRule, describeMatch, encodeRuleKey, MOST_RULES, type Rule } from './rule.ts';

/** Why no control group can be made here, or `false`. */
function cgroupMissing(): string | false {
  const missing = bpfMissing();
  if (missing !== false) return missing;
  try {
    const probe = path.join(cgroupRoot(), `linkhold-probe-${process.pid}`);
    mkdirSync(probe);
    rmdirSync(probe);
    return false;
  } catch (error) {
    return `needs a control group: ${(error as Error).message}`;
  }
}

let groups = 0;
/** What a test has left, the last first. */
const removals: (() => void)[] = [];

/** A control group without processes, and a policy for it. What is inside goes first. */
function policyOf(t: TestContext, parent: string = cgroupRoot()) {
  groups += 1;
  const group = path.join(parent, `linkhold-test-${process.pid}-${groups}`);
  mkdirSync(group);
  removals.unshift(() => rmdirSync(group));
  if (removals.length === 1) {
    t.after(() => {
      for (const remove of removals.splice(0)) remove();
    });
  }
  const policy = new Policy(group);
  let open = true;
  const close = () => {
    if (open) policy.close();
    open = false;
  };
  removals.unshift(close);
  return { policy, group, close };
}

const statusOf = (group: string) => listPolicies().find(({ cgroup }) => cgroup === group);
/** Rules in an order of their own, without what was counted. */
const plain = (rules: readonly (Rule | CountedRule)[] | undefined) =>
  rules
    ?.map(({ port, to, options, lock }) => ({ port, to, options, lock }))
    .toSorted((a, b) => describeMatch(a).localeCompare(describeMatch(b)));

const rule = (port: number, timeMs = 60_000, lock = false): Rule => ({
  port,
  to: undefined,
  options: { enabled: true, timeMs, intervalMs: 10_000, probes: 3, userTimeoutMs: 90_000 },
  lock,
});

suite('a policy of a control group', { skip: cgroupMissing() }, () => {
  test('is in force from the first moment, without rules, and is gone once it is closed', (t) => {
    const { group, close } = policyOf(t);
    assert.deepEqual(statusOf(group), { cgroup: group, pinned: false, rules: [] });
    close();
    assert.equal(statusOf(group), undefined);
  });

  test('holds the rules that it is given, in place of those before', (t) => {
    const { policy, group } = policyOf(t);
    for (const rules of [
      [rule(22)],
      [rule(22, 61_000), rule(5_432)],
      [rule(5_432, 62_000), rule(0)],
      [],
    ]) {
      policy.replace(rules);
      assert.deepEqual(plain(statusOf(group)?.rules), plain(rules));
    }
  });

  test('counts nothing while there are no connections', (t) => {
    const { policy, group } = policyOf(t);
    policy.replace([rule(22)]);
    const [held] = statusOf(group)?.rules ?? [];
    assert.deepEqual([held?.applied, held?.failed], [0, 0]);
  });

  test('locks only from the first rule on that does, and stays one policy', (t) => {
    const { policy, group } = policyOf(t);
    policy.replace([rule(22)]);
    const before = descriptors().length;
    policy.replace([rule(22, 60_000, true)]);
    assert.equal(descriptors().length, before + 1, 'the second program');
    policy.replace([rule(22, 60_000, true), rule(23, 60_000, true)]);
    assert.equal(descriptors().length, before + 1);
    assert.deepEqual(
      plain(statusOf(group)?.rules),
      plain([rule(22, 60_000, true), rule(23, 60_000, true)]),
    );
    assert.equal(listPolicies().filter(({ cgroup }) => cgroup === group).length, 1);
  });

  test('any rules after any others are those that are held, the later of equal ones', (t) => {
    const { policy, group } = policyOf(t);
    fc.assert(
      fc.property(fc.array(nearRule, { maxLength: 20 }), (rules) => {
        policy.replace(rules);
        const expected = new Map(rules.map((one) => [encodeRuleKey(one).join(), one]));
        const held = statusOf(group)?.rules ?? [];
        assert.equal(held.length, expected.size);
        for (const { applied, failed, ...one } of held) {
          const { to, ...wanted } = expected.get(encodeRuleKey(one).join()) ?? rule(0);
          assert.deepEqual(one, { ...wanted, to: to?.length === 0 ? undefined : to });
        }
      }),
      { numRuns: 60 },
    );
  });

  test('4,096 rules, as many as a configuration may have, are replaced by 4,096 others', (t) => {
    const { policy, group } = policyOf(t);
    const many = (from: number) =>
      Array.from({ length: MOST_RULES }, (_, index) => rule(from + index));
    policy.replace(many(1));
    policy.replace(many(10_001));
    const ports = statusOf(group)?.rules.map(({ port }) => port) ?? [];
    assert.equal(ports.length, MOST_RULES);
    assert.deepEqual([Math.min(...ports), Math.max(...ports)], [10_001, 10_000 + MOST_RULES]);
  });

  test('two of nested control groups are two, each with its own rules', (t) => {
    const { policy, group } = policyOf(t);
    const { policy: inner, group: below } = policyOf(t, group);
    policy.replace([rule(1)]);
    inner.replace([rule(2)]);
    assert.deepEqual(plain(statusOf(group)?.rules), [rule(1)]);
    assert.deepEqual(plain(statusOf(below)?.rules), [rule(2)]);
  });

  test('leaves no descriptor open, whether it ends well or was refused', (t) => {
    const before = descriptors();
    const { policy, close } = policyOf(t);
    policy.replace([rule(22, 60_000, true)]);
    assert.equal(descriptors().length, before.length + 3);
    close();
    assert.deepEqual(descriptors(), before);
    for (const place of [os.tmpdir(), path.join(os.tmpdir(), 'linkhold-none')]) {
      assert.throws(() => new Policy(place));
    }
    listPolicies();
    assert.deepEqual(descriptors(), before);
  });

  test('for a directory that is no control group is refused', () => {
    assert.throws(() => new Policy(os.tmpdir()), { name: 'SystemError', code: 'EBADF' });
  });
});

test('without rights a policy says what it needs, to make one and to look', {
  skip: strangerMissing() || cgroupMissing(),
}, async () => {
  const body = `
    const { listPolicies, Policy } = await load('host/policy.ts');
    return [() => new Policy(given), () => listPolicies()].map(attempt);`;
  const root = cgroupRoot();
  const [made, looked] = await asNobody<Record<string, string>[]>(body, root);
  assert.deepEqual(made, {
    name: 'SystemError',
    code: 'EPERM',
    message:
      'policies for new connections need CAP_BPF and CAP_NET_ADMIN: bpf(mapCreate): the kernel answered EPERM',
  });
  assert.equal(looked?.['code'], 'EPERM');
  assert.match(looked?.['message'] ?? '', /^looking at policies needs CAP_SYS_ADMIN: /);
});
