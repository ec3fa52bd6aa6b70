/**
 * The HTTP server under the API: TLS or not, and the limits of what a client may take of it. A client
 * that is slow, large or many is refused before it costs much.
 * @module
 */
import http from 'node:http';
import https from 'node:https';
import { createSecureContext } from 'node:tls';
import { UsageError } from '../../time/usage-error.ts';
import type { TlsFiles } from './context.ts';

/** Connections at once; each stream is one. */
const MOST_CONNECTIONS = 4_000;
const LARGEST_HEADERS = 16 * 1_024;
/** A request's headers come within so long, and all of it within that: a slow one is ended. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
/** How often those are looked after. */
const CHECK_INTERVAL_MS = 2_000;
/** An idle connection is kept for the next request so long. */
const IDLE_MS = 30_000;
const MOST_REQUESTS_A_CONNECTION = 10_000;
/** A handshake of TLS takes no longer. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

export function createServer(
  handler: http.RequestListener,
  tls: TlsFiles | undefined,
): http.Server | https.Server {
  const limits = {
    maxHeaderSize: LARGEST_HEADERS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    keepAliveTimeout: IDLE_MS,
  };
  const server =
    tls === undefined
      ? http.createServer(limits, handler)
      : https.createServer(
          { ...limits, ...tls, minVersion: 'TLSv1.2', handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
          handler,
        );
  server.maxConnections = MOST_CONNECTIONS;
  server.maxRequestsPerSocket = MOST_REQUESTS_A_CONNECTION;
  return server;
}

/** Throws `UsageError` where the certificate and the key are no pair. */
export function checkTls(tls: TlsFiles, where: string): void {
  try {
    createSecureContext(tls);
  } catch (error) {
    const text = (error as Error).message;
    throw new UsageError('bad-tls', `${where}: no certificate with its key, in PEM (${text})`);
  }
}

/** New connections get the new certificate; those that exist go on. */
export function renewTls(server: http.Server | https.Server, tls: TlsFiles): void {
  if (server instanceof https.Server) server.setSecureContext(tls);
}
