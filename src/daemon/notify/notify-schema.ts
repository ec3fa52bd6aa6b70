/**
 * What the `notify:` section of a configuration file may say. References, addresses, secrets and
 * quiet times are checked where they are used.
 * @module
 */
import { z } from 'zod';

/** What a rule may tell. */
export const TELLABLE = ['down', 'suspect', 'flapping', 'switch', 'back'] as const;
export type Tellable = (typeof TELLABLE)[number];

/** A time in which a rule is quiet: of the week (`22:00`), or once (`2026-12-24T18:00`). */
export interface QuietEntry {
  /** On which days it begins. Default: every day. */
  readonly days?: readonly string[] | undefined;
  readonly from: string;
  /** Not after `from`: on the next day. */
  readonly to: string;
  /** Default: that of the machine. */
  readonly timeZone?: string | undefined;
}

/** Who is told what, and when. */
export interface RuleEntry {
  /** Channels. */
  readonly to: readonly string[];
  /** Names, `*` for any characters. Without `links`, `groups` and `tags`: everything. */
  readonly links?: readonly string[] | undefined;
  readonly groups?: readonly string[] | undefined;
  /** Links with one of these tags. */
  readonly tags?: readonly string[] | undefined;
  /** Default: all but `suspect`. */
  readonly on?: readonly Tellable[] | undefined;
  /**
   * How long a trouble must last before it is told. Default 10s. Too short: every blink is told; too
   * long: people hear from others first.
   */
  readonly after?: string | undefined;
  /**
   * How long it must be up before that is told. Default 30s. Too short: a link that comes and goes
   * is told again and again.
   */
  readonly recoverAfter?: string | undefined;
  /** How long to wait for more to tell by the same message. Default 10s. */
  readonly groupWait?: string | undefined;
  /** What is still down is told again so often. Default: never. */
  readonly remindEvery?: string | undefined;
  readonly quiet?: readonly QuietEntry[] | undefined;
}

/** Where an HTTP message goes, and by which right. */
export interface HttpEntry {
  /** Whoever knows it may send: it is kept out of logs. */
  readonly url?: string | undefined;
  readonly urlFile?: string | undefined;
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string | undefined;
  readonly tokenFile?: string | undefined;
}

export interface WebhookEntry extends HttpEntry {
  readonly type: 'webhook';
  /** Default POST. */
  readonly method?: 'POST' | 'PUT' | 'PATCH' | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** With `{{title}}` and others; default: the message as JSON. */
  readonly body?: string | undefined;
}

export interface ChatEntry extends HttpEntry {
  readonly type: 'slack' | 'discord';
}

export interface NtfyEntry extends HttpEntry {
  readonly type: 'ntfy';
  readonly topic?: string | undefined;
  readonly topicFile?: string | undefined;
}

export interface PagerDutyEntry extends HttpEntry {
  readonly type: 'pagerduty';
  readonly routingKey?: string | undefined;
  readonly routingKeyFile?: string | undefined;
}

export interface AlertmanagerEntry extends HttpEntry {
  readonly type: 'alertmanager';
}

export interface CommandEntry {
  readonly type: 'command';
  /** The program and its arguments; no shell reads them. */
  readonly command: readonly string[];
  /** Default 10s. A program that takes longer is killed, and started again later. */
  readonly timeout?: string | undefined;
}

export const MAIL_TLS = ['starttls', 'tls', 'none'] as const;

export interface MailEntry {
  readonly type: 'mail';
  readonly host: string;
  /** Default: 587, with `tls: tls` 465, with `tls: none` 25. */
  readonly port?: number | undefined;
  /** Default `starttls`, without which nothing is sent. */
  readonly tls?: (typeof MAIL_TLS)[number] | undefined;
  /** A PEM file with whom to trust. Default: Node's authorities. */
  readonly caFile?: string | undefined;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly from: string;
  readonly to: readonly string[];
}

export type ChannelEntry =
  | WebhookEntry
  | ChatEntry
  | NtfyEntry
  | PagerDutyEntry
  | AlertmanagerEntry
  | CommandEntry
  | MailEntry;

/** The whole section. */
export interface NotifyEntry {
  readonly channels: Readonly<Record<string, ChannelEntry>>;
  readonly rules: Readonly<Record<string, RuleEntry>>;
}

const duration = z.string({ error: 'write a duration with its unit: 500ms, 45s, 10m, 2h' });
const text = z.string().min(1).max(4_096);
const names = z.array(z.string().min(1).max(64)).min(1).max(1_000);

/** Short names of a link's own, by which rules find it. */
export const tagsSchema: z.ZodType<string[]> = z
  .array(z.string().regex(/^[\w.-]{1,32}$/, 'write 1 to 32 letters, digits, "_", "-" or "."'))
  .max(16);

const TIME = /^(?:(?:[01]\d|2[0-3]):[0-5]\d|24:00|\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d)$/;
const time = z.string().regex(TIME, 'write a time as 22:00, or a date as 2026-12-24T18:00');

const quiet = z.strictObject({
  days: z
    .array(z.enum(['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']))
    .min(1)
    .optional(),
  from: time,
  to: time,
  timeZone: z.string().max(64).optional(),
});

const rule = z.strictObject({
  to: names,
  links: names.optional(),
  groups: names.optional(),
  tags: names.optional(),
  on: z.array(z.enum(TELLABLE)).min(1).optional(),
  after: duration.optional(),
  recoverAfter: duration.optional(),
  groupWait: duration.optional(),
  remindEvery: duration.optional(),
  quiet: z.array(quiet).max(100).optional(),
});

const http = {
  url: text.optional(),
  urlFile: text.optional(),
  token: text.optional(),
  tokenFile: text.optional(),
};

const channel = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('webhook'),
    ...http,
    method: z.enum(['POST', 'PUT', 'PATCH']).optional(),
    headers: z.record(z.string(), z.string().max(4_096)).optional(),
    body: z.string().max(65_536).optional(),
  }),
  z.strictObject({ type: z.enum(['slack', 'discord']), ...http }),
  z.strictObject({
    type: z.literal('ntfy'),
    ...http,
    topic: text.optional(),
    topicFile: text.optional(),
  }),
  z.strictObject({
    type: z.literal('pagerduty'),
    ...http,
    routingKey: text.optional(),
    routingKeyFile: text.optional(),
  }),
  z.strictObject({ type: z.literal('alertmanager'), ...http }),
  z.strictObject({
    type: z.literal('command'),
    command: z.array(z.string().max(4_096)).min(1).max(64),
    timeout: duration.optional(),
  }),
  z.strictObject({
    type: z.literal('mail'),
    host: z.string().min(1).max(255),
    port: z.int().min(1).max(65_535).optional(),
    tls: z.enum(MAIL_TLS).optional(),
    caFile: text.optional(),
    user: text.optional(),
    password: text.optional(),
    passwordFile: text.optional(),
    from: z.string().max(320),
    to: z.array(z.string().max(320)).min(1).max(100),
  }),
]);

/** Checks the shape of the section. */
export const notifySchema: z.ZodType<NotifyEntry> = z.strictObject({
  channels: z.record(z.string(), channel),
  rules: z.record(z.string(), rule),
});
