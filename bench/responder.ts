/**
 * A responder in a process of its own that tells its parent how much it has answered.
 * @module
 */
import { readKey } from '../src/link/beat-auth.ts';
import { BeatResponder } from '../src/link/beat-responder.ts';

const [host = '', port = ''] = process.argv.slice(2);
const responder = new BeatResponder(host, Number(port), readKey({}, 'bench'));
await responder.start();
process.on('message', () => process.send?.(responder.counts));
process.on('disconnect', () => process.exit());
process.send?.(responder.counts);
