/**
 * The dashboard in a browser: where it begins.
 * @module
 */
import { render } from 'preact';
import { App } from './app.tsx';
import { live } from './live.ts';
import { applyTheme } from './theme.tsx';

applyTheme();
live.start();
render(<App />, document.getElementById('app') ?? document.body);
