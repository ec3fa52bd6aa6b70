/**
 * What the notifications' machine needs to know, from what the configuration file says.
 * @module
 */
import { parseDuration } from '../../time/duration.ts';
import { UsageError } from '../../time/usage-error.ts';
import type { Config } from '../config-schema.ts';
import { createChannel } from './channels.ts';
import type { NotifyEntry, RuleEntry } from './notify-schema.ts';
import type { Thing } from './picture.ts';
import { QuietTimes } from './quiet.ts';
import type { RuleConfig } from './rule.ts';

const DEFAULTS = { after: '10s', recoverAfter: '30s', groupWait: '10s' } as const;
const DEFAULT_ON = ['down', 'flapping', 'switch', 'back'] as const;
/** Reminders closer together are a flood. */
const SHORTEST_REMINDER_MS = 60_000;

/** A rule without what it remembers and without a clock. */
export type RuleOptions = Omit<RuleConfig, 'memory' | 'quietUntil'> & {
  readonly quiet: QuietTimes;
};

/** Finds what is wrong with the section. Throws `UsageError`. */
export function checkNotify(config: Config): void {
  const { notify } = config;
  if (notify === undefined) return;
  for (const [name, entry] of Object.entries(notify.channels)) {
    createChannel(entry, `notify.channels.${name}`);
  }
  for (const [name, rule] of Object.entries(notify.rules)) {
    ruleOptions(name, rule);
    checkReferences(rule, notify, config, `notify.rules.${name}`);
  }
}

function checkReferences(
  { to, links, groups, tags }: RuleEntry,
  notify: NotifyEntry,
  config: Config,
  where: string,
): void {
  const known = new Set(Object.values(config.links).flatMap((link) => link.tags ?? []));
  const wanted = [
    ['to', to, 'channel', (name: string) => Object.hasOwn(notify.channels, name)],
    ['links', links, 'link', (name: string) => Object.hasOwn(config.links, name)],
    ['groups', groups, 'group', (name: string) => Object.hasOwn(config.groups, name)],
    ['tags', tags, 'link with the tag', (name: string) => known.has(name)],
  ] as const;
  for (const [key, names, what, exists] of wanted) {
    for (const [index, name] of (names ?? []).entries()) {
      const isPattern = name.includes('*') && (key === 'links' || key === 'groups');
      if (isPattern || exists(name)) continue;
      throw new UsageError('bad-config', `${where}.${key}.${index}: there is no ${what} "${name}"`);
    }
  }
}

/** A rule's options. Throws `UsageError`. */
export function ruleOptions(name: string, rule: RuleEntry): RuleOptions {
  const where = `notify.rules.${name}`;
  const inMs = (key: keyof typeof DEFAULTS) =>
    parseDuration(rule[key] ?? DEFAULTS[key], `${where}.${key}`);
  const { remindEvery } = rule;
  const remindEveryMs =
    remindEvery === undefined ? undefined : parseDuration(remindEvery, `${where}.remindEvery`);
  if (remindEveryMs !== undefined && remindEveryMs < SHORTEST_REMINDER_MS) {
    throw new UsageError('bad-config', `${where}.remindEvery: write 1m or longer`);
  }
  return {
    name,
    covers: coversOf(rule),
    on: new Set(rule.on ?? DEFAULT_ON),
    afterMs: inMs('after'),
    recoverAfterMs: inMs('recoverAfter'),
    groupWaitMs: inMs('groupWait'),
    remindEveryMs,
    quiet: new QuietTimes(rule.quiet ?? [], `${where}.quiet`),
  };
}

function coversOf({ links, groups, tags }: RuleEntry): (thing: Thing) => boolean {
  if (links === undefined && groups === undefined && tags === undefined) return () => true;
  const fits = (patterns: readonly string[] | undefined, name: string) =>
    patterns?.some((pattern) => matches(pattern, name)) ?? false;
  return ({ of, name, tags: own }) =>
    of === 'group'
      ? fits(groups, name)
      : fits(links, name) || own.some((tag) => tags?.includes(tag));
}

/** Whether a name fits a pattern, in which `*` stands for any characters. */
export function matches(pattern: string, name: string): boolean {
  const [head = '', ...others] = pattern.split('*');
  const tail = others.pop();
  if (tail === undefined) return pattern === name;
  if (!name.startsWith(head) || name.length < head.length + tail.length) return false;
  let from = head.length;
  const end = name.length - tail.length;
  for (const part of others) {
    const found = name.indexOf(part, from);
    if (found < 0 || found + part.length > end) return false;
    from = found + part.length;
  }
  return name.endsWith(tail);
}
