import assert from 'node:assert/strict';
import os from 'node:os';
import { suite, test } from 'node:test';
import { alertmanagerAlerts, pagerDutyEvents } from './alarms.ts';
import { discordPayload, ntfyPayload, slackPayload } from './chats.ts';
import type { Message, Notice } from './message.ts';
import { linesOf, sentenceOf, titleOf } from './text.ts';
import { toJson, webhookRequest } from './webhook.ts';

const AT = '2026-11-24T12:00:30.000Z';
const KEY = '0123456789abcdef0123456789abcdef';

const DOWN: Notice = {
  kind: 'down',
  of: 'link',
  name: 'db-a',
  since: '2026-11-24T12:00:00.000Z',
  reason: 'no-answer',
  evidence: { probes: 3, silentMs: 90_000, errno: 'ETIMEDOUT' },
  incident: 'all/link:db-a@2026-11-24T12:00:00.000Z',
  behind: {
    count: 12,
    names: ['x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', 'x8', 'x9', 'x10', 'x11'],
  },
};
const BACK: Notice = {
  kind: 'back',
  of: 'link',
  name: 'db-a',
  since: '2026-11-24T12:02:00.000Z',
  ended: { down: '2026-11-24T12:00:00.000Z', flapping: '2026-11-24T12:01:00.000Z' },
  incident: 'all/link:db-a@2026-11-24T12:00:00.000Z',
};
const SWITCH: Notice = {
  kind: 'switch',
  of: 'group',
  name: 'wan',
  since: AT,
  from: 'fibre',
  to: 'mobile',
  why: 'fibre is down',
};

function messageOf(...notices: readonly Notice[]): Message {
  return { id: 'id-1', at: AT, rule: 'all', notices, closed: [], afterQuiet: false };
}

suite('messages in words', () => {
  test('a fact alone is the title; the lines hold evidence, and what lies behind', () => {
    assert.equal(titleOf(messageOf(DOWN)), 'db-a is down');
    assert.deepEqual(linesOf(messageOf(DOWN)), [
      'link db-a is down since 2026-11-24 12:00:00 UTC: no-answer, 3 probes unanswered, silent for 1m30s, ETIMEDOUT',
      'behind it: x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 and 2 more',
    ]);
    assert.equal(sentenceOf(BACK), 'link db-a is up again since 2026-11-24 12:02:00 UTC, after 2m');
    assert.equal(
      sentenceOf(SWITCH),
      'group wan: fibre → mobile since 2026-11-24 12:00:30 UTC: fibre is down',
    );
    assert.equal(titleOf(messageOf({ ...DOWN, reminder: true })), 'db-a is still down');
    assert.equal(titleOf(messageOf({ ...DOWN, of: 'group' })), 'db-a is down, no path is up');
  });

  test('many facts are counted, at most 20 lines of them shown, and a quiet time named', () => {
    const many = Array.from({ length: 30 }, (_, index) => ({ ...DOWN, name: `l${index}` }));
    const plain = many.map(({ behind: _, ...notice }) => notice);
    const message = { ...messageOf(...plain, BACK, SWITCH), afterQuiet: true };
    assert.equal(titleOf(message), '30 down, 1 up again, 1 switched: l0, l1, l2 and 29 more');
    const lines = linesOf(message);
    assert.deepEqual(
      [lines.length, lines[0], lines.at(-1)],
      [22, 'After a quiet time:', 'and 12 more'],
    );
  });
});

suite('payloads as their receivers document them', () => {
  test('Slack: plain text in blocks', () => {
    const plain = (text: string) => ({ type: 'plain_text', text, emoji: false });
    assert.deepEqual(slackPayload(messageOf(DOWN)), {
      text: 'db-a is down',
      mrkdwn: false,
      unfurl_links: false,
      unfurl_media: false,
      blocks: [
        { type: 'header', text: plain('db-a is down') },
        { type: 'section', text: plain(linesOf(messageOf(DOWN)).join('\n')) },
      ],
    });
  });

  test('Discord: one embed, and nobody may be mentioned', () => {
    assert.deepEqual(discordPayload(messageOf(SWITCH)), {
      username: 'Linkhold',
      allowed_mentions: { parse: [] },
      embeds: [
        {
          title: 'wan\\: fibre → mobile',
          description:
            'group wan\\: fibre → mobile since 2026\\-11\\-24 12\\:00\\:30 UTC\\: fibre is down',
          color: 0xe3a008,
          timestamp: AT,
          footer: { text: 'id-1' },
        },
      ],
    });
  });

  test('ntfy: high priority for what is down, default for what is back', () => {
    assert.deepEqual(ntfyPayload(messageOf(DOWN), 'ops'), {
      topic: 'ops',
      title: 'db-a is down',
      message: linesOf(messageOf(DOWN)).join('\n'),
      priority: 4,
      tags: ['rotating_light'],
    });
    const { priority, tags } = ntfyPayload(messageOf(BACK), 'ops') as Record<string, unknown>;
    assert.deepEqual([priority, tags], [3, ['white_check_mark']]);
  });

  test('PagerDuty: a trigger for each incident, and a resolve when nothing of it is left', () => {
    const event = { routing_key: KEY, client: 'Linkhold' };
    assert.deepEqual(pagerDutyEvents(messageOf(DOWN), KEY), [
      {
        ...event,
        event_action: 'trigger',
        dedup_key: DOWN.incident,
        payload: {
          summary: 'db-a is down',
          source: os.hostname(),
          severity: 'critical',
          timestamp: AT,
          component: 'db-a',
          group: 'all',
          class: 'down',
          custom_details: { id: 'id-1', lines: linesOf(messageOf(DOWN)) },
        },
      },
    ]);
    assert.deepEqual(pagerDutyEvents(messageOf(BACK), KEY), []);
    const closing = { ...messageOf(BACK), closed: [BACK.incident ?? ''] };
    assert.deepEqual(pagerDutyEvents(closing, KEY), [
      { ...event, event_action: 'resolve', dedup_key: DOWN.incident },
    ]);
    const other = { ...DOWN, name: 'b', incident: 'other' };
    assert.equal(pagerDutyEvents(messageOf(DOWN, other), KEY).length, 2);
  });

  test('PagerDuty: a switch or a test is a moment: it begins an incident and ends it', () => {
    for (const kind of ['switch', 'test'] as const) {
      const sent = pagerDutyEvents(messageOf({ ...SWITCH, kind }), KEY) as Record<
        string,
        unknown
      >[];
      assert.deepEqual(
        sent.map((one) => [one['event_action'], one['dedup_key']]),
        [
          ['trigger', 'id-1'],
          ['resolve', 'id-1'],
        ],
      );
    }
  });

  test('Alertmanager: an alert for each trouble; its end has the same labels', () => {
    const labels = { alertname: 'LinkholdDown', severity: 'critical', link: 'db-a', rule: 'all' };
    const annotations = { summary: sentenceOf(DOWN), id: 'id-1' };
    const startsAt = DOWN.since;
    assert.deepEqual(alertmanagerAlerts(messageOf(DOWN)), [
      { labels, annotations, startsAt, endsAt: '2027-11-24T12:00:30.000Z' },
    ]);
    const over = { summary: sentenceOf(BACK), id: 'id-1' };
    const flapping = { ...labels, alertname: 'LinkholdFlapping', severity: 'warning' };
    assert.deepEqual(alertmanagerAlerts(messageOf(BACK)), [
      { labels: flapping, annotations: over, startsAt: '2026-11-24T12:01:00.000Z', endsAt: AT },
      { labels, annotations: over, startsAt, endsAt: AT },
    ]);
    assert.deepEqual(alertmanagerAlerts(messageOf(SWITCH)), [
      {
        labels: { alertname: 'LinkholdSwitch', severity: 'warning', group: 'wan', rule: 'all' },
        annotations: { summary: sentenceOf(SWITCH), id: 'id-1' },
        startsAt: AT,
        endsAt: '2026-11-24T12:05:30.000Z',
      },
    ]);
  });

  test('a webhook gets all of it as JSON, and the same in words', () => {
    const message = messageOf(DOWN);
    const { method, body, headers } = webhookRequest({ type: 'webhook' }, 'here')(message);
    assert.deepEqual([method, headers], ['POST', { 'content-type': 'application/json' }]);
    assert.deepEqual(JSON.parse(body), {
      id: 'id-1',
      at: AT,
      rule: 'all',
      gravity: 'bad',
      title: 'db-a is down',
      text: linesOf(message).join('\n'),
      afterQuiet: false,
      notices: [DOWN],
      closed: [],
    });
  });
});

const HOSTILE = [
  '"quoted" \\ <b>&amp;</b> <!channel> <@U1> @everyone *bold* _i_ ~s~ `c` [x](http://evil)',
  'line\r\nBcc: victim@example.net\r\n\r\nbody\u2028\u202Eevil\u0000\u001b[31m',
].join('\n');

suite('hostile text is text', () => {
  const notice: Notice = { ...SWITCH, name: HOSTILE, from: HOSTILE, to: HOSTILE, why: HOSTILE };
  const message = messageOf(notice, { ...DOWN, name: HOSTILE });

  test('titles and lines are single lines that steer nothing', () => {
    for (const text of [
      titleOf(message),
      titleOf(messageOf(notice)),
      ...linesOf(message),
      sentenceOf(notice),
    ]) {
      assert.doesNotMatch(text, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      assert(text.length <= 400, `${text.length}`);
    }
  });

  test('Slack sees no markup: no bare <, > or &', () => {
    const texts = JSON.stringify(slackPayload(message));
    assert.doesNotMatch(texts, /[<>]|&(?!(?:amp|lt|gt);)/);
    assert(texts.includes('&lt;!channel&gt;'));
  });

  test('Discord sees every sign of Markdown escaped, and mentions nobody', () => {
    const { embeds, allowed_mentions } = discordPayload(message) as {
      embeds: { title: string; description: string }[];
      allowed_mentions: object;
    };
    assert.deepEqual(allowed_mentions, { parse: [] });
    const [{ title = '', description = '' } = {}] = embeds;
    for (const text of [title, description]) {
      assert.doesNotMatch(text.replaceAll(/\\[\\*_~`|<>[\]()#:@-]/g, ''), /[\\*_~`|<>[\]()#:@-]/);
    }
    assert(description.includes('\\@everyone'));
  });

  test('limits hold, in characters or bytes, however much has to be escaped', () => {
    const long = Array.from({ length: 100 }, () => ({ ...notice, why: '<'.repeat(5_000) }));
    const wide = messageOf(...long.map((one) => ({ ...one, why: '€'.repeat(5_000) })));
    const slack = slackPayload(messageOf(...long)) as { blocks: { text: { text: string } }[] };
    const [header, section] = slack.blocks.map(({ text }) => text.text.length);
    assert(header !== undefined && header <= 150 && section !== undefined && section <= 3_000);
    const discord = discordPayload(messageOf(...long)) as { embeds: { [key: string]: string }[] };
    assert((discord.embeds[0]?.['title']?.length ?? 0) <= 256);
    assert((discord.embeds[0]?.['description']?.length ?? 0) <= 4_096);
    const ntfy = ntfyPayload(wide, 'ops') as { message: string };
    assert(Buffer.byteLength(ntfy.message) <= 4_096);
    const [event] = pagerDutyEvents(messageOf(...long), KEY) as { payload: { summary: string } }[];
    assert((event?.payload.summary.length ?? 0) <= 1_024);
  });

  test('a template escapes for JSON, forms and markup, each by its content type', () => {
    const fill = (body: string, type?: string) => {
      const headers = type === undefined ? {} : { 'Content-Type': type };
      return webhookRequest({ type: 'webhook', body, headers }, 'here')(message).body;
    };
    const text = linesOf(message).join('\n');
    assert.deepEqual(JSON.parse(fill('{"a": "{{text}}", "b": {{ json }}, "c": "{{id}}"}')), {
      a: text,
      b: JSON.parse(toJson(message)),
      c: 'id-1',
    });
    const form = 'application/x-www-form-urlencoded';
    assert.equal(new URLSearchParams(fill('x={{text}}&y=1', form)).get('x'), text);
    assert.doesNotMatch(fill('<p>{{text}}</p>', 'text/html').slice(3, -4), /[<>"']/);
    assert.equal(fill('{{text}}', 'text/plain'), text);
  });
});
