/**
 * Messages for people who chat: Slack (incoming webhooks with Block Kit), Discord (webhooks with an
 * embed) and ntfy (publishing as JSON), as their documentation describes them. Nothing that a
 * message says is markup there, and nobody is called by it.
 * @module
 */
import type { Message } from './message.ts';
import { cut, gravityOf, linesOf, titleOf } from './text.ts';

const COLOURS = { bad: 0xd73a49, warning: 0xe3a008, good: 0x2da44e } as const;

/** Of Slack: a header holds 150 characters, a text 3,000; `&`, `<` and `>` are to be escaped. */
export function slackPayload(message: Message): object {
  const plain = (text: string, most: number) => ({
    type: 'plain_text',
    text: slackText(text, most),
    emoji: false,
  });
  const title = titleOf(message);
  return {
    text: slackText(title, 3_000),
    mrkdwn: false,
    unfurl_links: false,
    unfurl_media: false,
    blocks: [
      { type: 'header', text: plain(title, 150) },
      { type: 'section', text: plain(linesOf(message).join('\n'), 3_000) },
    ],
  };
}

/** Of Discord: a title holds 256 characters, a description 4,096; Markdown is escaped by `\`. */
export function discordPayload(message: Message): object {
  return {
    username: 'Linkhold',
    allowed_mentions: { parse: [] },
    embeds: [
      {
        title: discordText(titleOf(message), 256),
        description: discordText(linesOf(message).join('\n'), 4_096),
        color: COLOURS[gravityOf(message)],
        timestamp: message.at,
        footer: { text: message.id },
      },
    ],
  };
}

/** Of ntfy: JSON to the server's root; a message holds 4,096 bytes, priorities are 1 to 5. */
export function ntfyPayload(message: Message, topic: string): object {
  const gravity = gravityOf(message);
  return {
    topic,
    title: cut(titleOf(message), 250),
    message: cutBytes(linesOf(message).join('\n'), 4_000),
    priority: gravity === 'bad' ? 4 : 3,
    tags: [{ bad: 'rotating_light', warning: 'warning', good: 'white_check_mark' }[gravity]],
  };
}

function slackText(text: string, most: number): string {
  const entity = (one: string) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[one] ?? one;
  return fit(text, most, (part) => part.replaceAll(/[&<>]/g, entity));
}

function discordText(text: string, most: number): string {
  return fit(text, most, (part) => part.replaceAll(/[\\*_~`|<>[\]()#:@-]/g, '\\$&'));
}

/** Cuts before it escapes, so that no escape is cut in two. */
function fit(text: string, most: number, escaped: (text: string) => string): string {
  for (let length = Math.min(text.length, most); ; length = Math.floor(length * 0.9)) {
    const fitted = escaped(cut(text, length));
    if (fitted.length <= most) return fitted;
  }
}

function cutBytes(text: string, most: number): string {
  for (let length = Math.min(text.length, most); ; length = Math.floor(length * 0.9)) {
    const part = cut(text, length);
    if (Buffer.byteLength(part) <= most) return part;
  }
}
