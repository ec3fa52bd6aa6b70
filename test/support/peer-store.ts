/**
 * A process that appends events to a store as fast as they are told, and says on its standard
 * output what was told: a line an event, `ID TEXT`. It runs until it is killed. Its arguments: the
 * directory, and what its events begin with.
 * @module
 */
import { writeSync } from 'node:fs';
import { EventLog } from '../../src/daemon/event-log.ts';
import { Store } from '../../src/daemon/store/store.ts';

const [directory = '', begin = ''] = process.argv.slice(2);
const store = new Store({ directory, note: () => undefined });
store.open();
store.attach({
  // The group's standing says how many events there are: it is kept with them, or neither is.
  changes: () => {
    const inUse = { active: `${begin} ${appended}`, since: '', why: '' };
    return { links: [], groups: [['g', inUse]] };
  },
  taken: () => undefined,
});
const log = new EventLog(store);
log.on('event', ({ id, ...event }) => {
  writeSync(1, `${id} ${'text' in event ? event.text : ''}\n`);
});
let appended = 0;

function burst(): void {
  for (let index = 0; index < 20; index += 1) {
    appended += 1;
    log.append({ at: new Date().toISOString(), type: 'note', text: `${begin} ${appended}` });
  }
  setImmediate(burst);
}

burst();
