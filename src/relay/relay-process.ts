/**
 * The program of the process that carries the flows of all relays.
 * @module
 */
import { kernelCalls } from '../sys/kernel-calls.ts';
import { runRelay } from './relay-loop.ts';

runRelay(kernelCalls());
process.exit();
