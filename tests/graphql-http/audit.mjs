// Runs the audits of graphql-http against a server that this script starts and ends:
//
//     node audit.mjs <path of the ruche binary>
//
// Prints one line per audit that is not ok and a summary. The exit code is 0 only with no error and no warning: a
// MUST or a SHOULD of GraphQL over HTTP that is not met, and with every audit that the locked version has.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { auditServer } from 'graphql-http';

// Audits of the version in package-lock.json: fewer means that some did not run.
const AUDITS = 61;

const program = process.argv[2];
if (!program) {
  console.error('usage: node audit.mjs <path of the ruche binary>');
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'ruche-audit-'));
const folders = ['--json', '--data-dir', join(folder, 'data'), '--keys-dir', join(folder, 'keys')];

function newKey() {
  const made = spawnSync(program, ['keys', 'new', '--tenant', 'audit', '--role', 'admin', ...folders], {
    encoding: 'utf8',
  });
  if (made.status !== 0) throw new Error(`no key could be made: ${made.stderr}`);
  return JSON.parse(made.stdout).key;
}

async function started(server) {
  for await (const line of createInterface({ input: server.stdout })) {
    if (line.startsWith('{')) return JSON.parse(line).listening;
  }
  throw new Error('the server ended before it listened');
}

async function main() {
  const key = newKey();
  const server = spawn(program, ['serve', '--listen', '127.0.0.1:0', ...folders], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, RUCHE_LOG: 'warn' },
  });
  try {
    const url = `http://${await started(server)}/graphql`;
    // The audits know nothing of keys; every request of theirs is sent with one.
    const fetchFn = (input, init = {}) =>
      fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${key}` } });
    return await auditServer({ url, fetchFn });
  } finally {
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill('SIGTERM');
    await ended;
  }
}

const counts = { ok: 0, error: 0, warn: 0, notice: 0 };
try {
  for (const result of await main()) {
    counts[result.status] += 1;
    if (result.status !== 'ok') console.log(`${result.status} ${result.id} ${result.name}: ${result.reason}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
console.log(
  `graphql-http: ${total} of ${AUDITS} audits, ${counts.ok} ok, ${counts.error} errors, ${counts.warn} warnings, ${counts.notice} notices`,
);
process.exit(total === AUDITS && counts.error === 0 && counts.warn === 0 ? 0 : 1);
