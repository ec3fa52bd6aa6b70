/**
 * A responder in a process of its own, on a port of its own choice, that tells its parent where it
 * listens and, whenever it is asked, how much it has answered.
 * @module
 */
import { readKey } from '../src/link/beat-auth.ts';
import { BeatResponder } from '../src/link/beat-responder.ts';

const responder = new BeatResponder('127.0.0.1', 0, readKey({}, 'bench'));
const listen = await responder.start();
process.on('message', () => process.send?.({ listen, answered: responder.counts.answered }));
process.on('disconnect', () => process.exit());
process.send?.({ listen, answered: 0 });
