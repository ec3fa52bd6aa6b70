/**
 * The frame around every page: where one is, whether the daemon can be reached, and who is signed in.
 * @module
 */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { SessionRow, Summary } from '../src/daemon/api/rows.ts';
import { signOut } from './api.ts';
import { sentenceOf } from './events.tsx';
import { GroupPage } from './group-page.tsx';
import { GroupsPage } from './groups-page.tsx';
import { Logo } from './icons.tsx';
import { LinkPage } from './link-page.tsx';
import { LinksPage } from './links-page.tsx';
import { live } from './live.ts';
import { MachinePage } from './machine-page.tsx';
import { Missing } from './missing.tsx';
import { Go, type Place, useAddress } from './router.tsx';
import { askToSignIn, SignInDialog, SignInPage } from './sign-in.tsx';
import { ThemeButton } from './theme.tsx';
import { useNow } from './time.tsx';
import { useLive } from './use-live.ts';
import { lengthOf } from './words.ts';

function Page({ place }: { readonly place: Place }): JSX.Element {
  switch (place.page) {
    case 'links':
      return <LinksPage />;
    case 'groups':
      return <GroupsPage />;
    case 'machine':
      return <MachinePage />;
    case 'link':
      return <LinkPage key={place.name} name={place.name} />;
    case 'group':
      return <GroupPage key={place.name} name={place.name} />;
    case 'nowhere':
      return <Missing what="such page" />;
  }
}

const TITLES = { links: 'Links', groups: 'Groups', machine: 'This machine', nowhere: 'Nothing' };

function titleOf(place: Place): string {
  return 'name' in place ? place.name : TITLES[place.page];
}

function useReachable(): boolean {
  const [reachable, set] = useState(live.contact.reachable);
  useEffect(() => live.watch(() => set(live.contact.reachable)), []);
  return reachable;
}

function Who({
  session,
  renew,
}: {
  readonly session: SessionRow | undefined;
  readonly renew: () => void;
}): JSX.Element | null {
  if (session === undefined) return null;
  if (session.expiresAt === null) {
    return (
      <button type="button" class="quiet" onClick={() => askToSignIn('To change anything', renew)}>
        Sign in
      </button>
    );
  }
  const leave = async () => {
    await signOut();
    live.restart();
    renew();
  };
  return (
    <button
      type="button"
      class="quiet"
      onClick={() => void leave()}
      title={`Signed in by the token ${session.name ?? ''}`}
    >
      Sign out
    </button>
  );
}

function Header({ place }: { readonly place: Place }): JSX.Element {
  const reachable = useReachable();
  const { data: session, renew } = useLive<SessionRow>('/api/v1/session', {
    concerns: () => false,
  });
  const { page } = place;
  return (
    <header class="top">
      <Go to="/" class="home">
        <Logo />
        Linkhold
      </Go>
      <nav aria-label="Pages">
        <Go to="/" current={page === 'links' || page === 'link'}>
          Links
        </Go>
        <Go to="/groups" current={page === 'groups' || page === 'group'}>
          Groups
        </Go>
        <Go to="/machine" current={page === 'machine'}>
          This machine
        </Go>
      </nav>
      <span class="side">
        <span class={reachable ? 'pulse' : 'pulse lost'}>
          <i aria-hidden="true" />
          {reachable ? 'Live' : 'Not reachable'}
        </span>
        <ThemeButton />
        <Who session={session} renew={renew} />
      </span>
    </header>
  );
}

/** While nobody answers: since when, and that what is shown is old. */
function Lost(): JSX.Element {
  const now = useNow();
  const reachable = useReachable();
  const { lastMs } = live.contact;
  return (
    <div role="alert">
      {!reachable && (
        <p class="lost-banner">
          <b>The daemon does not answer.</b> The last sign of it was{' '}
          {lengthOf(Math.max(0, now - lastMs))} ago; what is shown is from then. It is asked again
          every few seconds.
        </p>
      )}
    </div>
  );
}

/** Says what happens to who does not see it. */
function Announcer(): JSX.Element {
  const [text, setText] = useState('');
  useEffect(() => live.listen((event) => event !== undefined && setText(sentenceOf(event))), []);
  return (
    <p class="sr-only" aria-live="polite" data-announcer>
      {text}
    </p>
  );
}

function Footer({ summary }: { readonly summary: Summary | undefined }): JSX.Element {
  return (
    <footer class="bottom">
      {summary !== undefined && <span>linkhold {summary.version}</span>}
      <a href="/api/v1/openapi.json">API</a>
      <a href="/metrics">Metrics</a>
      <span class="keys">
        Keys: <kbd>/</kbd> search, <kbd>j</kbd> <kbd>k</kbd> through the list, <kbd>Esc</kbd> back
      </span>
    </footer>
  );
}

/** Escape leads from a link or group back to where all of them are. */
function useEscape(place: Place): void {
  useEffect(() => {
    const back = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.key !== 'Escape' || target.closest('dialog, input, select') !== null) return;
      if (place.page === 'link' || place.page === 'group') history.back();
    };
    addEventListener('keydown', back);
    return () => removeEventListener('keydown', back);
  }, [place.page]);
}

export function App(): JSX.Element {
  const { place } = useAddress();
  const { data: summary, refusal, renew } = useLive<Summary>('/api/v1/summary');
  const main = useRef<HTMLElement>(null);
  const title = titleOf(place);
  useEscape(place);
  useEffect(() => {
    document.title = `${title} · Linkhold`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#main">
        To the content
      </a>
      <Header place={place} />
      <Lost />
      {summary?.status === 'degraded' && (
        <ul class="troubles" aria-label="What is wrong with the daemon itself">
          {summary.troubles.map((text) => (
            <li key={text}>{text}</li>
          ))}
        </ul>
      )}
      <main id="main" ref={main} tabIndex={-1}>
        {refusal?.status === 401 ? <SignInPage signed={renew} /> : <Page place={place} />}
      </main>
      <Footer summary={summary} />
      <Announcer />
      <SignInDialog />
    </>
  );
}
