/**
 * Waits for what a link tells, each time with a bound.
 * @module
 */
import type { LinkState } from '../../src/keepalive/keepalive.ts';
import type { Link, LinkEvent, StateEvent } from '../../src/link/link.ts';

const BOUND_MS = 5_000;

/** The next event that fits. Listens from the moment of the call. */
export function next<Type extends LinkEvent['type']>(
  link: Link,
  type: Type,
  fits: (event: LinkEvent) => boolean = () => true,
): Promise<Extract<LinkEvent, { type: Type }>> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      const status = JSON.stringify(link.status());
      reject(new Error(`no such ${type} event within ${BOUND_MS} ms; the link is ${status}`));
    }, BOUND_MS);
    const take = (event: LinkEvent) => {
      if (!fits(event)) return;
      clearTimeout(late);
      (link as NodeJS.EventEmitter).off(type, take);
      resolve(event as Extract<LinkEvent, { type: Type }>);
    };
    (link as NodeJS.EventEmitter).on(type, take);
  });
}

/** The next time that the link enters a state. */
export function reaches(link: Link, state: LinkState): Promise<StateEvent> {
  return next(link, 'state', (event) => event.type === 'state' && event.to === state);
}
