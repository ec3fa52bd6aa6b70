/**
 * Addresses and pages: real addresses, without loading the page anew.
 * @module
 */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

export type Place =
  | { readonly page: 'links' | 'groups' | 'machine' | 'nowhere' }
  | { readonly page: 'link' | 'group'; readonly name: string };

const moved = new EventTarget();

/** What an address shows. */
export function placeOf(pathname: string): Place {
  const [first = '', second, ...more] = pathname.split('/').slice(1);
  if (more.length > 0) return { page: 'nowhere' };
  if (second === undefined || second === '') {
    if (first === '') return { page: 'links' };
    return first === 'groups' || first === 'machine' ? { page: first } : { page: 'nowhere' };
  }
  if (first === 'links') return { page: 'link', name: decoded(second) };
  if (first === 'groups') return { page: 'group', name: decoded(second) };
  return { page: 'nowhere' };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function linkAddress(name: string): string {
  return `/links/${encodeURIComponent(name)}`;
}

export function groupAddress(name: string): string {
  return `/groups/${encodeURIComponent(name)}`;
}

export function go(address: string): void {
  history.pushState(null, '', address);
  scrollTo(0, 0);
  moved.dispatchEvent(new Event('move'));
}

/** Changes the query of the address without a place to go back to. */
export function setQuery(query: Readonly<Record<string, string | undefined>>): void {
  const next = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(query)) {
    if (value === undefined || value === '') next.delete(key);
    else next.set(key, value);
  }
  const text = next.toString();
  history.replaceState(null, '', text === '' ? location.pathname : `?${text}`);
  moved.dispatchEvent(new Event('move'));
}

/** The address now. */
export function useAddress(): { readonly place: Place; readonly query: URLSearchParams } {
  const read = () => location.pathname + location.search;
  const [, set] = useState(read);
  useEffect(() => {
    const update = () => set(read());
    moved.addEventListener('move', update);
    addEventListener('popstate', update);
    return () => {
      moved.removeEventListener('move', update);
      removeEventListener('popstate', update);
    };
  }, []);
  return { place: placeOf(location.pathname), query: new URLSearchParams(location.search) };
}

interface GoProps {
  readonly to: string;
  readonly class?: string;
  /** It leads to where one is. */
  readonly current?: boolean;
  readonly children: ComponentChildren;
}

/** A link within the dashboard; with a modifier key it opens as the browser would. */
export function Go({ to, children, current = false, ...rest }: GoProps): JSX.Element {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return (
    <a {...rest} {...(current ? { 'aria-current': 'page' } : {})} href={to} onClick={follow}>
      {children}
    </a>
  );
}
