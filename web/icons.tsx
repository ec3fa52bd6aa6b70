/**
 * Signs for states: each has its own shape, so that colour is never the only difference.
 * @module
 */
import type { JSX } from 'preact';
import type { LinkState } from '../src/keepalive/keepalive.ts';
import { STATES } from './words.ts';

const SHAPES: Readonly<Record<LinkState, JSX.Element>> = {
  up: (
    <>
      <circle cx="8" cy="8" r="7" class="ground" />
      <path d="M4.8 8.3l2.2 2.2 4.2-4.7" />
    </>
  ),
  suspect: (
    <>
      <path d="M8 1.6l6.9 12.2H1.1z" class="ground" />
      <path d="M8 6v3.6M8 11.7v.1" />
    </>
  ),
  down: (
    <>
      <path d="M5 1.2h6L14.8 5v6L11 14.8H5L1.2 11V5z" class="ground" />
      <path d="M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2" />
    </>
  ),
  drained: (
    <>
      <rect x="1.2" y="1.2" width="13.6" height="13.6" rx="3" class="ground" />
      <path d="M6 5v6M10 5v6" />
    </>
  ),
  unknown: (
    <>
      <circle cx="8" cy="8" r="6.4" class="hollow" />
      <path d="M8 11.2v.1M6.2 6.3a1.9 1.9 0 1 1 2.6 1.8c-.5.2-.8.5-.8 1" class="in-hollow" />
    </>
  ),
};

export function StateIcon({ state }: { readonly state: LinkState }): JSX.Element {
  return (
    <svg class={`icon ${state}`} viewBox="0 0 16 16" aria-hidden="true">
      {SHAPES[state]}
    </svg>
  );
}

/** Sign and word. */
export function StateMark({ state }: { readonly state: LinkState }): JSX.Element {
  return (
    <span class={`mark ${state}`} title={STATES[state].about}>
      <StateIcon state={state} />
      {STATES[state].label}
    </span>
  );
}

export function Logo(): JSX.Element {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M13.5 10.5h-2a5.5 5.5 0 0 0 0 11h2M18.5 10.5h2a5.5 5.5 0 0 1 0 11h-2M12 16h8" />
    </svg>
  );
}
