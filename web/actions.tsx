/**
 * What a person may do to a link: drain, resume, probe now. Where a token is needed, it is asked for, and
 * what was wanted is done then.
 * @module
 */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { LinkRow } from '../src/daemon/api/rows.ts';
import { ask, pathOf, Refusal } from './api.ts';
import { askToSignIn } from './sign-in.tsx';

export type Verb = 'drain' | 'resume' | 'probe';

const LABELS: Readonly<Record<Verb, string>> = {
  drain: 'Drain',
  resume: 'Resume',
  probe: 'Probe now',
};
const ABOUT: Readonly<Record<Verb, string>> = {
  drain: 'Take it out, gently: no new traffic goes there, and it is watched on',
  resume: 'Take it back in',
  probe: 'Ask the peer for evidence at once',
};

async function act(link: string, verb: Verb): Promise<void> {
  await ask<LinkRow>(`${pathOf('links', link)}/${verb}`, { method: 'POST' });
}

interface ActionProps {
  readonly link: string;
  readonly verb: Verb;
  readonly done: () => void;
}

export function Action({ link, verb, done }: ActionProps): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState('');
  const run = async () => {
    setBusy(true);
    setTrouble('');
    try {
      await act(link, verb);
      done();
    } catch (error) {
      const refused = error instanceof Refusal && [401, 403].includes(error.status);
      if (refused) askToSignIn(`To ${LABELS[verb].toLowerCase()} ${link}`, () => void run());
      else setTrouble((error as Error).message);
    }
    setBusy(false);
  };
  return (
    <span class="action">
      <button
        type="button"
        disabled={busy}
        onClick={() => void run()}
        title={ABOUT[verb]}
        aria-label={`${LABELS[verb]} ${link}`}
      >
        {LABELS[verb]}
      </button>
      {trouble !== '' && <span role="alert">{trouble}</span>}
    </span>
  );
}

/** Drain or resume, whichever makes sense. */
export function DrainOrResume(
  props: Omit<ActionProps, 'verb'> & { readonly drained: boolean },
): JSX.Element {
  const { drained, ...rest } = props;
  return <Action key={String(drained)} {...rest} verb={drained ? 'resume' : 'drain'} />;
}
