/**
 * Signing in: the token is given once, and a cookie that no script can read takes its place.
 * @module
 */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Refusal, signIn } from './api.ts';
import { live } from './live.ts';

interface Wish {
  readonly why: string;
  readonly then: () => void;
}

let tell: ((wish: Wish) => void) | undefined;

/** Opens the form; `then` runs once somebody may do what `why` says. */
export function askToSignIn(why: string, then: () => void): void {
  tell?.({ why, then });
}

function TokenForm({ signed }: { readonly signed: () => void }): JSX.Element {
  const [trouble, setTrouble] = useState('');
  const input = useRef<HTMLInputElement>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    try {
      await signIn(input.current?.value.trim() ?? '');
      live.restart();
      signed();
    } catch (error) {
      const wrong = error instanceof Refusal && error.status === 401;
      setTrouble(wrong ? 'That is no token of this daemon.' : (error as Error).message);
    }
  };
  useEffect(() => input.current?.focus(), []);
  return (
    <form onSubmit={(event) => void submit(event)}>
      <label for="token">Token</label>
      <input
        id="token"
        ref={input}
        type="password"
        autocomplete="current-password"
        required
        aria-describedby="token-hint"
      />
      <p id="token-hint" class="soft">
        It is in the file <code>token</code> of the daemon’s state directory:{' '}
        <code>sudo cat /var/lib/linkhold/token</code>, or <code>~/.local/state/linkhold/token</code>{' '}
        where it does not run as root. <code>linkhold token add</code> makes others.
      </p>
      {trouble !== '' && (
        <p role="alert" class="trouble">
          {trouble}
        </p>
      )}
      <button type="submit" class="primary">
        Sign in
      </button>
    </form>
  );
}

/** Waits for a wish that needs a token. */
export function SignInDialog(): JSX.Element {
  const [wish, setWish] = useState<Wish>();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    tell = setWish;
  }, []);
  useEffect(() => {
    if (wish !== undefined && dialog.current?.open === false) dialog.current.showModal();
  }, [wish]);
  const signed = () => {
    dialog.current?.close();
    wish?.then();
  };
  return (
    <dialog ref={dialog} aria-labelledby="sign-in-why" onClose={() => setWish(undefined)}>
      {wish !== undefined && (
        <>
          <h2 id="sign-in-why">{wish.why}, a token is needed</h2>
          <TokenForm signed={signed} />
          <button type="button" class="quiet close" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
        </>
      )}
    </dialog>
  );
}

/** The whole page, where even reading needs a token. */
export function SignInPage({ signed }: { readonly signed: () => void }): JSX.Element {
  return (
    <section class="sign-in card">
      <h1>Who is there?</h1>
      <p class="soft">
        This daemon can be reached from elsewhere, so it shows itself only to who has a token.
      </p>
      <TokenForm signed={signed} />
    </section>
  );
}
