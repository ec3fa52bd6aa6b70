/**
 * What stands where nothing is.
 * @module
 */
import type { JSX } from 'preact';
import { Go } from './router.tsx';

export function Missing({ what }: { readonly what: string }): JSX.Element {
  return (
    <section class="card empty">
      <h1>There is no {what}</h1>
      <p>
        It may have left the configuration. <Go to="/">All links</Go>
      </p>
    </section>
  );
}
