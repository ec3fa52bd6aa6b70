/** Events by pages: no gap, none twice, whatever happens meanwhile. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import { NOTHING_SHOWN, type Shown, withNewest, withOlder } from './paged.ts';

const ASKED = 3;
const at = '2026-11-24T12:00:00.000Z';

function events(from: number, to: number): LoggedEvent[] {
  return Array.from({ length: to - from + 1 }, (_, index) => ({
    id: from + index,
    at,
    type: 'note',
    text: '',
  }));
}

const told = ({ items, hasOlder }: Shown) => [items.map(({ id }) => id).join(' '), hasOlder];

suite('events by pages', () => {
  test('the newest three, then older ones before them until there are none', () => {
    const newest = withNewest(NOTHING_SHOWN, events(8, 10), ASKED);
    assert.deepEqual(told(newest), ['8 9 10', true]);
    const older = withOlder(newest, { items: events(3, 7), next: 3 });
    assert.deepEqual(told(older), ['3 4 5 6 7 8 9 10', true]);
    const all = withOlder(older, { items: events(1, 2), next: null });
    assert.deepEqual(told(all), ['1 2 3 4 5 6 7 8 9 10', false]);
  });

  test('what happens meanwhile comes behind, and older ones stay', () => {
    const shown = withOlder(withNewest(NOTHING_SHOWN, events(8, 10), ASKED), {
      items: events(6, 7),
      next: null,
    });
    assert.deepEqual(told(withNewest(shown, events(9, 11), ASKED)), ['6 7 8 9 10 11', false]);
  });

  test('more than was asked for happened meanwhile: it begins anew, without a gap', () => {
    const shown = withNewest(NOTHING_SHOWN, events(1, 3), ASKED);
    assert.deepEqual(told(withNewest(shown, events(7, 9), ASKED)), ['7 8 9', true]);
  });

  test('fewer than asked are all there are; a page that comes late brings nothing twice', () => {
    assert.deepEqual(told(withNewest(NOTHING_SHOWN, events(1, 2), ASKED)), ['1 2', false]);
    assert.deepEqual(told(withNewest(NOTHING_SHOWN, [], ASKED)), ['', false]);
    const shown = withNewest(NOTHING_SHOWN, events(4, 6), ASKED);
    const late = withOlder(shown, { items: events(3, 5), next: 3 });
    assert.deepEqual(told(late), ['3 4 5 6', true]);
  });
});
