/**
 * Decides what people are told of links and groups, and when: one picture of how everything stands,
 * and the rules that look at it (`rule.ts`). Sans I/O: after each input drain `pollOutput` and re-arm
 * for `pollTimeout`. It knows no channels, and no clock but the one it is given.
 * @module
 */
import { earliest, type Instant } from '../../time/instant.ts';
import { type GroupConfig, type LinkConfig, type LinkNews, Picture } from './picture.ts';
import { Rule, type RuleConfig, type RuleOutput } from './rule.ts';

/** What is watched, and who wants to know. */
export interface NotifyConfig {
  readonly links: readonly LinkConfig[];
  readonly groups: readonly GroupConfig[];
  readonly rules: readonly RuleConfig[];
}

/** An input later than its deadline by more than this means that nobody was observing. */
const SLACK_MS = 5_000;

export class NotifyMachine {
  readonly #picture: Picture;
  readonly #rules: readonly Rule[];
  readonly #outputs: RuleOutput[] = [];
  #deadline: Instant | undefined;

  constructor({ links, groups, rules }: NotifyConfig, now: Instant) {
    this.#picture = new Picture(links, groups, now);
    this.#rules = rules.map((rule) => new Rule(rule, this.#picture.things, now));
    this.#settle(now);
  }

  /** Input: how a link stands. An unknown one is ignored. */
  handleLink(name: string, news: LinkNews, now: Instant): void {
    this.#noticeGap(now);
    for (const thing of this.#picture.handleLink(name, news, now)) {
      for (const rule of this.#rules) rule.handleChange(thing, now);
    }
    this.#settle(now);
  }

  /** Input: a group uses another path. An unknown one is ignored. */
  handleSwitch(group: string, to: string, why: string, at: string, now: Instant): void {
    this.#noticeGap(now);
    const thing = this.#picture.handleSwitch(group, to, why, at, now);
    if (thing !== undefined) for (const rule of this.#rules) rule.handleChange(thing, now);
    this.#settle(now);
  }

  /** Input: the clock reached `now`. Early or repeated calls do nothing. */
  handleTimeout(now: Instant): void {
    this.#noticeGap(now);
    for (const rule of this.#rules) {
      const output = rule.handleTimeout(now);
      if (output !== undefined) this.#outputs.push(output);
    }
    this.#settle(now);
  }

  /** Output: the next message, or `undefined` when drained. */
  pollOutput(): RuleOutput | undefined {
    return this.#outputs.shift();
  }

  /** Output: when to call `handleTimeout` next, or `undefined` for never. */
  pollTimeout(): Instant | undefined {
    return this.#deadline;
  }

  #noticeGap(now: Instant): void {
    if (this.#deadline === undefined || now <= this.#deadline + SLACK_MS) return;
    for (const rule of this.#rules) rule.handleGap(now);
  }

  /** Nobody is late for what is left over for the next call. */
  #settle(now: Instant): void {
    this.#deadline = undefined;
    for (const rule of this.#rules) this.#deadline = earliest(this.#deadline, rule.deadline);
    if (this.#deadline !== undefined) this.#deadline = Math.max(this.#deadline, now);
  }
}
