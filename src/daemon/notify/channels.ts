/**
 * Makes the channels of a configuration. Everything that can be wrong with one is found here,
 * before anything is sent.
 * @module
 */
import { UsageError } from '../../time/usage-error.ts';
import { alertmanagerAlerts, pagerDutyEvents } from './alarms.ts';
import { type Channel, DELIVERY_LIMIT_MS } from './channel.ts';
import { discordPayload, ntfyPayload, slackPayload } from './chats.ts';
import { commandChannel } from './command.ts';
import { type HttpRequest, post, type Target, targetOf } from './http-post.ts';
import { mailChannel } from './mail.ts';
import type { Message } from './message.ts';
import type { ChannelEntry, NtfyEntry, PagerDutyEntry } from './notify-schema.ts';
import { readSecret } from './secret.ts';
import { webhookRequest } from './webhook.ts';

const PAGERDUTY = 'https://events.pagerduty.com/v2/enqueue';
const NTFY = 'https://ntfy.sh/';

/** Throws `UsageError`. */
export function createChannel(entry: ChannelEntry, where: string): Channel {
  switch (entry.type) {
    case 'command':
      return commandChannel(entry, where);
    case 'mail':
      return mailChannel(entry, where);
    case 'webhook': {
      const request = webhookRequest(entry, where);
      return httpChannel(targetOf(entry, where), (message) => [request(message)]);
    }
    case 'slack':
      return jsonChannel(targetOf(entry, where), (message) => [slackPayload(message)]);
    case 'discord':
      return jsonChannel(targetOf(entry, where), (message) => [discordPayload(message)]);
    case 'ntfy':
      return ntfyChannel(entry, where);
    case 'pagerduty':
      return pagerDutyChannel(entry, where);
    case 'alertmanager': {
      const target = targetOf(entry, where);
      const { url } = target;
      if (!url.pathname.endsWith('/api/v2/alerts')) {
        url.pathname = `${url.pathname.replace(/\/$/, '')}/api/v2/alerts`;
      }
      return jsonChannel(target, (message) => [alertmanagerAlerts(message)]);
    }
  }
}

function ntfyChannel(entry: NtfyEntry, where: string): Channel {
  const topic = readSecret(entry, 'topic', where) ?? '';
  if (!/^[-\w]{1,64}$/.test(topic)) {
    const text = 'write 1 to 64 letters, digits, "_" and "-"; who knows it can read along';
    throw new UsageError('bad-config', `${where}.topic: ${text}`);
  }
  const target = withSecret(targetOf(entry, where, NTFY), topic);
  return jsonChannel(target, (message) => [ntfyPayload(message, topic)]);
}

function pagerDutyChannel(entry: PagerDutyEntry, where: string): Channel {
  const key = readSecret(entry, 'routingKey', where) ?? '';
  if (!/^\w{32}$/.test(key)) {
    const text = 'write the 32 characters of an Events API v2 integration';
    throw new UsageError('bad-config', `${where}.routingKey: ${text}`);
  }
  const target = withSecret(targetOf(entry, where, PAGERDUTY), key);
  return jsonChannel(target, (message) => pagerDutyEvents(message, key));
}

function withSecret(target: Target, secret: string): Target {
  return { ...target, secrets: [...target.secrets, secret] };
}

function jsonChannel(target: Target, payloads: (message: Message) => object[]): Channel {
  const headers = { 'content-type': 'application/json' };
  return httpChannel(target, (message) =>
    payloads(message)
      .filter((payload) => !Array.isArray(payload) || payload.length > 0)
      .map((payload) => ({ method: 'POST', body: JSON.stringify(payload), headers })),
  );
}

/** All requests of a message, one after the other; a repetition repeats them all. */
function httpChannel(target: Target, requests: (message: Message) => HttpRequest[]): Channel {
  const send = async (message: Message, signal: AbortSignal) => {
    let answer = 'nothing to send';
    for (const [index, request] of requests(message).entries()) {
      const key = index === 0 ? message.id : `${message.id}/${index}`;
      const headers = { ...request.headers, 'idempotency-key': `"${key}"` };
      answer = await post(target, { ...request, headers }, signal);
    }
    return answer;
  };
  return { limitMs: DELIVERY_LIMIT_MS, send };
}
