/**
 * Light or dark: as the system says, unless somebody chose, which is remembered.
 * @module
 */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

const KEY = 'linkhold-theme';
const THEMES = ['system', 'light', 'dark'] as const;
type Theme = (typeof THEMES)[number];

const SIGNS: Readonly<Record<Theme, string>> = { system: '◐', light: '☀', dark: '☾' };

/** What depends on colours that a style sheet does not reach. */
export const themeChanged: EventTarget = new EventTarget();

function remembered(): Theme {
  try {
    const text = localStorage.getItem(KEY);
    return THEMES.find((theme) => theme === text) ?? 'system';
  } catch {
    return 'system';
  }
}

export function applyTheme(theme: Theme = remembered()): void {
  const { dataset } = document.documentElement;
  if (theme === 'system') delete dataset['theme'];
  else dataset['theme'] = theme;
  themeChanged.dispatchEvent(new Event('change'));
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () =>
  themeChanged.dispatchEvent(new Event('change')),
);

export function ThemeButton(): JSX.Element {
  const [theme, set] = useState(remembered);
  const next = () => {
    const chosen = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'system';
    set(chosen);
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // Not remembered where nothing may be; it holds for this page.
    }
    applyTheme(chosen);
  };
  return (
    <button type="button" class="quiet" onClick={next} title="Light, dark, or as the system is">
      <span aria-hidden="true">{SIGNS[theme]}</span>
      <span class="wide-only"> {theme}</span>
      <span class="sr-only">: colours</span>
    </button>
  );
}
