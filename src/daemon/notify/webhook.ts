/**
 * Messages for anybody's own receiver: JSON, or a body after a template whose values are escaped as
 * the body's content type needs it.
 * @module
 */
import { UsageError } from '../../time/usage-error.ts';
import type { HttpRequest } from './http-post.ts';
import type { Message } from './message.ts';
import type { WebhookEntry } from './notify-schema.ts';
import { gravityOf, linesOf, titleOf } from './text.ts';

const PLACEHOLDERS = ['id', 'at', 'rule', 'title', 'text', 'gravity', 'json'] as const;
type Placeholder = (typeof PLACEHOLDERS)[number];
const PLACEHOLDER = /\{\{\s*([^{}]*?)\s*\}\}/g;

/** The message as receivers get it: what happened, and the same in words. */
export function toJson(message: Message): string {
  const { id, at, rule, notices, closed, afterQuiet } = message;
  const words = { title: titleOf(message), text: linesOf(message).join('\n') };
  const gravity = gravityOf(message);
  return JSON.stringify({ id, at, rule, gravity, ...words, afterQuiet, notices, closed });
}

/** How the messages of a webhook are made. Throws `UsageError`. */
export function webhookRequest(
  { method = 'POST', body, headers = {} }: WebhookEntry,
  where: string,
): (message: Message) => HttpRequest {
  let type = 'application/json';
  for (const [name, value] of Object.entries(headers)) {
    checkHeader(name, value, where);
    if (name.toLowerCase() === 'content-type') type = value;
  }
  for (const [, name = ''] of (body ?? '').matchAll(PLACEHOLDER)) {
    if ((PLACEHOLDERS as readonly string[]).includes(name)) continue;
    const known = PLACEHOLDERS.join(', ');
    throw new UsageError('bad-config', `${where}.body: no {{${name}}} is known; write ${known}`);
  }
  const escaped = escapeFor(type);
  return (message) => {
    if (body === undefined) {
      return { method, body: toJson(message), headers: { 'content-type': type, ...headers } };
    }
    const values: Readonly<Record<Placeholder, () => string>> = {
      id: () => message.id,
      at: () => message.at,
      rule: () => message.rule,
      title: () => titleOf(message),
      text: () => linesOf(message).join('\n'),
      gravity: () => gravityOf(message),
      json: () => toJson(message),
    };
    const filled = body.replaceAll(PLACEHOLDER, (_, name: Placeholder) => {
      const value = values[name]();
      // A whole JSON value within JSON is that, not a text.
      return name === 'json' && escaped === escapeJson ? value : escaped(value);
    });
    return { method, body: filled, headers: { 'content-type': type, ...headers } };
  };
}

function checkHeader(name: string, value: string, where: string): void {
  const own = ['content-length', 'host', 'connection', 'transfer-encoding', 'idempotency-key'];
  try {
    new Headers({ [name]: value });
    if (!own.includes(name.toLowerCase())) return;
  } catch {
    // The error of Node's holds the value, which may be a secret.
  }
  const text = own.includes(name.toLowerCase())
    ? 'is set by us'
    : 'has a name or value not allowed';
  throw new UsageError('bad-config', `${where}.headers: "${name.slice(0, 64)}" ${text}`);
}

function escapeFor(type: string): (text: string) => string {
  if (/\bjson\b/i.test(type)) return escapeJson;
  if (/^application\/x-www-form-urlencoded\b/i.test(type)) return encodeURIComponent;
  if (/\b(?:xml|html)\b/i.test(type)) return escapeMarkup;
  return (text) => text;
}

/** The inside of a JSON text: quotes stand in the template. */
function escapeJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function escapeMarkup(text: string): string {
  return text.replaceAll(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
}
