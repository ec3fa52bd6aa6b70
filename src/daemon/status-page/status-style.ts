/**
 * How the status page looks, light and dark. Text is legible on its ground (WCAG AA).
 * @module
 */
export const STYLE: string = `
:root { color-scheme: light dark; --bg: #f6f6f3; --card: #fff; --ink: #1b1d21; --soft: #5b6168;
  --line: #e4e3de; --up: #17784a; --suspect: #8f5a00; --down: #b3202a; --drained: #4655b0;
  --fill-up: #3aa772; --fill-suspect: #e3a32b; --fill-down: #d8434c; --fill-drained: #7d8be0;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
@media (prefers-color-scheme: dark) {
  :root { --bg: #101215; --card: #181b1f; --ink: #e9ebee; --soft: #9ba2ab; --line: #2a2e34;
    --up: #56c994; --suspect: #f0b646; --down: #ff8087; --drained: #a3b0ff;
    --fill-up: #2f9a68; --fill-suspect: #d0952a; --fill-down: #e0525b; --fill-drained: #7382dd } }
* { box-sizing: border-box }
body { margin: 0; background: var(--bg); color: var(--ink) }
main, footer { max-width: 46rem; margin: 0 auto; padding: 0 1rem }
h1 { font-size: 1.9rem; letter-spacing: -.02em; line-height: 1.2; margin: 3rem 0 1rem;
  overflow-wrap: anywhere }
h2 { font-size: 1rem; margin: 2.5rem 0 .75rem }
.verdict { background: var(--card); border: 1px solid var(--line); border-left: 4px solid;
  border-radius: 10px; padding: .9rem 1.1rem; font-size: 1.15rem; font-weight: 600; margin: 0 }
.up { color: var(--up) } .suspect { color: var(--suspect) } .down { color: var(--down) }
.drained { color: var(--drained) } .unknown { color: var(--soft) }
ul { list-style: none; margin: 0; padding: 0 }
.links { background: var(--card); border: 1px solid var(--line); border-radius: 12px }
.links li { padding: 1rem 1.1rem } .links li + li { border-top: 1px solid var(--line) }
.head, .foot { display: flex; justify-content: space-between; gap: 0 1rem; flex-wrap: wrap }
.head strong, .incidents strong { overflow-wrap: anywhere; font-weight: 600 }
.state { font-weight: 600; white-space: nowrap }
.foot, .key, .none, footer { color: var(--soft); font-size: .875rem }
.bar { display: block; width: 100%; height: 28px; margin: .5rem 0 .35rem }
rect.up { fill: var(--fill-up) } rect.suspect { fill: var(--fill-suspect) }
rect.down { fill: var(--fill-down) } rect.drained { fill: var(--fill-drained) }
.stripe { fill: var(--soft); opacity: .45 }
.key span { margin-left: .6rem }
.incidents li { padding: .6rem 0; border-bottom: 1px solid var(--line) }
footer { padding-top: 2rem; padding-bottom: 3rem }
`;
