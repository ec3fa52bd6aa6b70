/**
 * A policy: rules for the connections that a control group's processes will make or accept, kept by
 * the kernel. It lasts as long as this object, or, pinned, until it is removed. Rules change while it
 * is in force, one entry at a time, without a gap. Needs CAP_BPF and CAP_NET_ADMIN.
 * @module
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  unlinkSync,
} from 'node:fs';
import path from 'node:path';
import {
  attachToCgroup,
  awaitPrograms,
  BPF_MAP_LPM_TRIE,
  BPF_SETSOCKOPT,
  BPF_SOCK_OPS,
  cgroupLinks,
  closing,
  createMap,
  deleteFromMap,
  loadProgram,
  mapEntries,
  mapInfo,
  openMapById,
  openPinned,
  pin,
  updateMap,
} from '../sys/bpf.ts';
import { lockFile } from '../sys/file-lock.ts';
import { SystemError } from '../sys/system-error.ts';
import { bpfMount, cgroupById, cgroupId, hasBpfMount } from './mounts.ts';
import { applyProgram, lockProgram } from './policy-programs.ts';
import {
  type CountedRule,
  decodeRule,
  encodeRuleKey,
  encodeRuleValue,
  MOST_RULES,
  RULE_KEY_LENGTH,
  RULE_VALUE,
  RULE_VALUE_LENGTH,
  type Rule,
} from './rule.ts';

/** A policy in force, as the kernel tells. */
export interface PolicyStatus {
  /** The control group's directory; its number if it cannot be found. */
  readonly cgroup: string;
  /** Whether it outlives the process that made it. */
  readonly pinned: boolean;
  readonly rules: readonly CountedRule[];
}

const APPLY_NAME = 'linkhold_apply';
const LOCK_NAME = 'linkhold_lock';
const FOLDER = 'linkhold';
/** Pinned beside each other, in a folder named by the control group's number. */
const PINS = { rules: 'rules', apply: 'apply', lock: 'lock' } as const;

export class Policy {
  readonly #cgroup: string;
  readonly #rules: number;
  #apply: number | undefined;
  #lock: number | undefined;

  /** Attaches to a control group's directory, without rules yet. Throws `SystemError`. */
  constructor(cgroup: string) {
    this.#cgroup = cgroup;
    this.#rules = withRights(createRules);
    try {
      this.#apply = withRights(() => attachApply(cgroup, this.#rules));
    } catch (error) {
      closeSync(this.#rules);
      throw error;
    }
  }

  /** Makes these the rules. New ones are in force before old ones go. Throws `SystemError`. */
  replace(rules: readonly Rule[]): void {
    if (this.#lock === undefined && rules.some(({ lock }) => lock)) {
      this.#lock = withRights(() => attachLock(this.#cgroup, this.#rules));
    }
    const entries = [...mapEntries(this.#rules, RULE_KEY_LENGTH, RULE_VALUE_LENGTH)];
    const there = new Map(entries.map(({ key, value }) => [key.join(), value]));
    const kept = new Set(rules.map((rule) => encodeRuleKey(rule).join()));
    // One that stays as it is keeps its counts.
    putRules(
      this.#rules,
      rules.filter((rule) => !isSame(rule, there.get(encodeRuleKey(rule).join()))),
    );
    const gone = entries.filter(({ key }) => !kept.has(key.join()));
    if (gone.length === 0) return;
    // A program that looked where a new rule was not yet must find the old one where it looks next.
    awaitPrograms(this.#rules);
    for (const { key } of gone) deleteFromMap(this.#rules, key);
  }

  /** Ends it: connections to come are plain again, those treated keep what they have. */
  close(): void {
    for (const fd of [this.#lock, this.#apply, this.#rules]) if (fd !== undefined) closeSync(fd);
    this.#lock = undefined;
    this.#apply = undefined;
  }
}

/**
 * Adds rules to the pinned policy of a control group, and makes that policy if there is none. Two at
 * once take turns. Throws `SystemError`.
 */
export function pinRules(cgroup: string, rules: readonly Rule[]): void {
  withRights(() =>
    withPins((folder) => {
      // One folder a control group, named by its number.
      const place = path.join(folder, String(cgroupId(cgroup)));
      mkdirSync(place, { recursive: true, mode: 0o700 });
      const at = (name: string) => path.join(place, name);
      const map = openPinned(at(PINS.rules)) ?? pinned(createRules(), at(PINS.rules));
      closing(map, () => {
        refuseOtherVersion(map, place);
        putRules(map, rules);
        ensurePinned(at(PINS.apply), () => attachApply(cgroup, map));
        if (rules.some(({ lock }) => lock)) {
          ensurePinned(at(PINS.lock), () => attachLock(cgroup, map));
        }
      });
    }),
  );
}

/**
 * Removes pinned rules for which `doomed` holds, and each policy that has none left, so that nothing
 * of it remains. Answers how many rules went. Throws `SystemError`.
 */
export function unpinRules(
  cgroup: string | undefined,
  doomed: (rule: CountedRule) => boolean,
): number {
  const only = cgroup === undefined ? undefined : String(cgroupId(cgroup));
  // Without such a filesystem nothing can be pinned.
  if (!hasBpfMount()) return 0;
  return withRights(() =>
    withPins((folder) => {
      let removed = 0;
      for (const name of readOrNothing(folder)) {
        if (only !== undefined && name !== only) continue;
        removed += unpinOne(path.join(folder, name), doomed);
      }
      if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder);
      return removed;
    }),
  );
}

/** Every policy of ours in this kernel, whoever holds it (CAP_SYS_ADMIN). Throws `SystemError`. */
export function listPolicies(): PolicyStatus[] {
  return withRights(() => {
    const pinnedIds = pinnedMapIds();
    const policies: PolicyStatus[] = [];
    for (const { cgroupId: id, program, mapIds } of cgroupLinks()) {
      const [mapId] = mapIds;
      if (program !== APPLY_NAME || mapId === undefined) continue;
      const map = openMapById(mapId);
      if (map === undefined) continue;
      const rules = closing(map, () => readRules(map));
      policies.push({ cgroup: cgroupById(id) ?? `#${id}`, pinned: pinnedIds.has(mapId), rules });
    }
    return policies;
  }, 'looking at policies needs CAP_SYS_ADMIN');
}

/** Loads what a policy is made of, and attaches nothing. Throws `SystemError` where that is refused. */
export function tryPolicy(): void {
  withRights(() => {
    const rules = createRules();
    closing(rules, () => {
      closeSync(loadProgram(BPF_SOCK_OPS, APPLY_NAME, applyProgram(rules).encode()));
    });
  });
}

function createRules(): number {
  return createMap({
    type: BPF_MAP_LPM_TRIE,
    name: 'linkhold_rules',
    keyLength: RULE_KEY_LENGTH,
    valueLength: RULE_VALUE_LENGTH,
    // Where all are replaced by others, these are there before those go.
    mostEntries: 2 * MOST_RULES,
  });
}

function attachApply(cgroup: string, rules: number): number {
  return attach(cgroup, BPF_SOCK_OPS, APPLY_NAME, applyProgram(rules).encode());
}

function attachLock(cgroup: string, rules: number): number {
  return attach(cgroup, BPF_SETSOCKOPT, LOCK_NAME, lockProgram(rules).encode());
}

function attach(
  cgroup: string,
  kind: typeof BPF_SOCK_OPS | typeof BPF_SETSOCKOPT,
  name: string,
  instructions: Uint8Array,
): number {
  const directory = openSync(cgroup, 'r');
  return closing(directory, () => {
    const program = loadProgram(kind, name, instructions);
    return closing(program, () => attachToCgroup(program, directory, kind));
  });
}

function putRules(map: number, rules: readonly Rule[]): void {
  for (const rule of rules) updateMap(map, encodeRuleKey(rule), encodeRuleValue(rule));
}

/** Whether a value in the map asks for what the rule does, whatever it has counted. */
function isSame(rule: Rule, value: Uint8Array | undefined): boolean {
  const asked = (bytes: Uint8Array) => bytes.subarray(0, RULE_VALUE.applied).join();
  return value !== undefined && asked(encodeRuleValue(rule)) === asked(value);
}

function readRules(map: number): CountedRule[] {
  const { keyLength, valueLength } = mapInfo(map);
  // Those of another version cannot be read, only removed.
  if (keyLength !== RULE_KEY_LENGTH || valueLength !== RULE_VALUE_LENGTH) return [];
  return Array.from(mapEntries(map, keyLength, valueLength), ({ key, value }) =>
    decodeRule(key, value),
  );
}

function refuseOtherVersion(map: number, place: string): void {
  const { keyLength, valueLength } = mapInfo(map);
  if (keyLength === RULE_KEY_LENGTH && valueLength === RULE_VALUE_LENGTH) return;
  const mend = 'remove it with linkhold protect --remove and pin it anew';
  throw new SystemError('other-version', `${place} was pinned by another version; ${mend}`);
}

function pinned(fd: number, file: string): number {
  pin(fd, file);
  return fd;
}

function ensurePinned(file: string, make: () => number): void {
  const there = openPinned(file);
  closeSync(there ?? pinned(make(), file));
}

function unpinOne(place: string, doomed: (rule: CountedRule) => boolean): number {
  const map = openPinned(path.join(place, PINS.rules));
  let removed = 0;
  let left = 0;
  if (map !== undefined) {
    closing(map, () => {
      for (const rule of readRules(map)) {
        if (!doomed(rule)) left += 1;
        else if (deleteFromMap(map, encodeRuleKey(rule))) removed += 1;
      }
    });
  }
  if (left > 0) return removed;
  for (const file of readdirSync(place)) unlinkSync(path.join(place, file));
  rmdirSync(place);
  return removed;
}

function pinnedMapIds(): Set<number> {
  const ids = new Set<number>();
  if (!hasBpfMount()) return ids;
  const folder = path.join(bpfMount(), FOLDER);
  for (const name of readOrNothing(folder)) {
    const map = openPinned(path.join(folder, name, PINS.rules));
    if (map !== undefined) ids.add(closing(map, () => mapInfo(map).id));
  }
  return ids;
}

function readOrNothing(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Runs `body` on our folder in the bpf filesystem while nobody else of us does. */
function withPins<Result>(body: (folder: string) => Result): Result {
  const mount = bpfMount();
  const lock = openSync(mount, 'r');
  return closing(lock, () => {
    lockFile(lock);
    return body(path.join(mount, FOLDER));
  });
}

/** Says what is missing in words of capabilities(7). */
function withRights<Result>(
  body: () => Result,
  needs = 'policies for new connections need CAP_BPF and CAP_NET_ADMIN',
): Result {
  try {
    return body();
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code !== 'EPERM' && code !== 'EACCES') throw error;
    if (code === 'EACCES' && error instanceof SystemError) throw error;
    throw new SystemError(code, `${needs}: ${(error as Error).message}`);
  }
}
