/**
 * This machine's own connections that are at risk: why, and the command that mends each.
 * @module
 */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Page } from '../src/daemon/api/rows.ts';
import type { SocketReport } from '../src/host/socket-report.ts';
import { withQuery } from './api.ts';
import { StateIcon } from './icons.tsx';
import { Time } from './time.tsx';
import { useLive } from './use-live.ts';
import { commandFor, lengthOf, plural, RISK_WORDS } from './words.ts';

const MOST = 200;
const LOOK_MS = 10_000;
const COPIED_MS = 2_000;

interface Sockets extends Page<SocketReport> {
  readonly total: number;
  readonly atRisk: number;
  readonly at: string;
  readonly missing: string | null;
}

function Copy({ command }: { readonly command: string }): JSX.Element {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    // Without TLS a page off loopback has no clipboard; the text is there to be marked.
    await navigator.clipboard?.writeText(command);
    setCopied(navigator.clipboard !== undefined);
    setTimeout(() => setCopied(false), COPIED_MS);
  };
  return (
    <span class="command">
      <code>{command}</code>
      <button type="button" onClick={() => void copy()} aria-label={`Copy the command ${command}`}>
        {copied ? 'Copied' : 'Copy'}
      </button>
      <span role="status" class="sr-only">
        {copied ? 'Copied' : ''}
      </span>
    </span>
  );
}

function detectionOf({ detection }: SocketReport): string {
  if (detection === null) return 'When a dead peer would be known cannot be told.';
  const idle =
    detection.idleMs === null ? 'not noticed' : `known within ${lengthOf(detection.idleMs)}`;
  const inFlight = lengthOf(detection.inFlightMs);
  return `A dead peer is ${idle} while the connection is idle, and known within ${inFlight} while data is on its way.`;
}

function Connection({ socket }: { readonly socket: SocketReport }): JSX.Element {
  const { process, pid, local, remote, risks, advice } = socket;
  const command = commandFor(socket);
  return (
    <li class="card">
      <h3>
        {process ?? 'A program that cannot be seen'}
        {pid !== null && <span class="soft"> · process {pid}</span>}
      </h3>
      <p class="mono ends">
        {local} → {remote}
      </p>
      <ul class="story">
        {risks.map((risk) => (
          <li key={risk}>
            <StateIcon state={risk === 'half-open-suspect' ? 'down' : 'suspect'} />
            <span>{RISK_WORDS[risk]}</span>
          </li>
        ))}
      </ul>
      <p class="soft">{detectionOf(socket)}</p>
      {advice !== null && (
        <p>
          <b>To mend it:</b> {advice}.
        </p>
      )}
      {command !== undefined && <Copy command={command} />}
    </li>
  );
}

export function MachinePage(): JSX.Element {
  const [all, setAll] = useState(false);
  const url = withQuery('/api/v1/sockets', {
    risky: 'true',
    limit: MOST,
    all: all ? 'true' : undefined,
  });
  const { data, refusal } = useLive<Sockets>(url, { concerns: () => false, everyMs: LOOK_MS });
  return (
    <>
      <h1>This machine</h1>
      <p class="lead">
        TCP connections of the programs here, and whether each would notice that its peer is dead.
        Most programs set no keepalive; it can be set from outside, while they run.
      </p>
      {refusal !== undefined && (
        <p class="card trouble" role="alert">
          {refusal.message}
        </p>
      )}
      {data !== undefined && (
        <>
          <p role="status">
            <b>{plural(data.atRisk, 'connection')}</b> at risk, of {data.total.toLocaleString()},
            those within this machine counted. As of <Time at={data.at} />.
          </p>
          {data.missing !== null && (
            <p class="card soft">Not all can be seen here: {data.missing}</p>
          )}
          <label class="check">
            <input
              type="checkbox"
              checked={all}
              onChange={(event) => setAll(event.currentTarget.checked)}
            />{' '}
            Also connections within this machine
          </label>
          {data.items.length === 0 && (
            <p class="card empty">
              {all ? 'None is at risk.' : 'None with another machine is at risk.'}
            </p>
          )}
          <ul class="cards plain">
            {data.items.map((socket) => (
              <Connection key={socket.cookie} socket={socket} />
            ))}
          </ul>
          {data.next !== null && (
            <p class="soft">
              The worst {MOST} are shown; <code>linkhold sockets --risky</code> lists all.
            </p>
          )}
        </>
      )}
    </>
  );
}
