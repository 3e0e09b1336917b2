// Looks at the pages for people in Chromium, with JavaScript switched off, at a server that this script starts and ends:
//
//     node check.mjs <path of the ruche binary> [folder for screenshots]
//
// A person logs in by the form. What the charts show, as it is drawn, and what their tables say has to be what GraphQL
// answers; nothing may be loaded from elsewhere, no rule of the page be broken, and no phone need a scroll to the side. The
// exit code is 0 only if all of it holds. Chromium is `chromium` in the path, or what CHROMIUM names.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [program, pictures] = process.argv.slice(2);
if (!program) {
  console.error('usage: node check.mjs <path of the ruche binary> [folder for screenshots]');
  process.exit(2);
}

const ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];
const DAY = 86_400_000;
// A name that would be a script if it were no text.
const HOSTILE = '<script>document.title = "taken"</script>';
// What is drawn is right within half of a unit of the picture, of which a chart is 280 high.
const UNITS_OFF_MAX = 0.5;
const READ_TRIES_MAX = 60;

const date = (at) => new Date(at).toISOString().slice(0, 10);
const today = Math.floor(Date.now() / DAY) * DAY;
// The demo fills the six weeks until now; a turn that tells nothing of itself stands alone before them.
const [from, alone, last] = [today - 52 * DAY, today - 48 * DAY, today];

const folder = mkdtempSync(join(tmpdir(), 'ruche-console-'));

async function started(server) {
  for await (const line of createInterface({ input: server.stdout })) {
    if (line.startsWith('{')) return JSON.parse(line);
  }
  throw new Error('the server ended before it listened');
}

async function ask(url, key, query, variables = {}) {
  const answer = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  return answer.json();
}

async function told(url, key, query, variables) {
  const answer = await ask(url, key, query, variables);
  assert.equal(answer.errors, undefined, JSON.stringify(answer.errors));
  return answer.data;
}

/// A turn of which nobody told what it cost and how long it took.
async function recordUnknown(url, key) {
  const at = new Date(alone + DAY / 2).toISOString();
  const input = {
    idempotencyKey: 'alone', session: { externalId: 'alone' }, agent: HOSTILE, openedAt: at,
    steps: [
      { received: { text: 'hello', at } },
      { said: { text: 'hello', at, modelCall: { model: 'shop-untold', requestedAt: at, respondedAt: at } } },
    ],
    end: { committed: { outcome: 'ANSWERED', endedAt: at } },
  };
  const session = { idempotencyKey: 'alone-session', externalId: 'alone', agent: HOSTILE, channel: 'web', startedAt: at };
  const started = await told(url, key, `mutation ($input: StartSessionInput!) { startSession(input: $input) { __typename
    ... on Refusal { message } } }`, { input: session });
  assert.equal(started.startSession.__typename, 'StartSessionPayload', JSON.stringify(started));
  const turn = await told(url, key, `mutation ($input: RecordTurnInput!) { recordTurn(input: $input) { __typename
    ... on Refusal { message } } }`, { input });
  assert.equal(turn.recordTurn.__typename, 'RecordTurnPayload', JSON.stringify(turn));
}

/// Waits until the read models hold all that is recorded; the server itself waits each time.
async function caughtUp(url, key) {
  const { ledger } = await told(url, key, '{ ledger { lastPosition } }');
  for (let tries = 0; tries < READ_TRIES_MAX; tries += 1) {
    const answer = await ask(url, key, `query ($p: Position) { analytics(metric: TURNS, from: "2020-01-01T00:00:00Z",
      to: "2100-01-01T00:00:00Z", minPosition: $p) { rows { value } } }`, { p: ledger.lastPosition });
    if (!answer.errors) return;
    assert.match(JSON.stringify(answer.errors), /READ_MODEL_BEHIND/);
  }
  throw new Error('the read models do not follow');
}

/// Rows as GraphQL answers them, by the same time and filters as the page.
async function rows(url, key, metric, { by = [], percentile, filter = {}, bucket = 'DAY' } = {}) {
  const answer = await told(url, key, `query ($m: AnalyticsMetric!, $by: [AnalyticsDimension!], $bucket: AnalyticsBucket,
    $from: DateTime!, $to: DateTime!, $q: Float, $f: AnalyticsFilter) { analytics(metric: $m, groupBy: $by, bucket: $bucket,
    from: $from, to: $to, percentile: $q, filter: $f) { rows { bucket key { value } currency value known count coverage } } }`,
    { m: metric, by, bucket, q: percentile, f: filter, from: `${date(from)}T00:00:00Z`, to: `${date(last + DAY)}T00:00:00Z` });
  return answer.analytics.rows;
}

/// What a chart shows, as the browser has laid it out: marks in units of the picture, and the rows of its table.
const seen = (page, id) => page.evaluate((id) => {
  const figure = document.getElementById(id);
  const svg = figure.querySelector('svg');
  const { end, height, bottom } = svg.dataset;
  const frame = svg.getBoundingClientRect();
  const scale = svg.viewBox.baseVal.height / frame.height;
  const box = (element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return { middle: (x + width / 2 - frame.x) * scale, top: (y - frame.y) * scale, centre: (y + height / 2 - frame.y) * scale,
      bottom: (y + height - frame.y) * scale, told: element.querySelector('title').textContent,
      class: element.getAttribute('class') };
  };
  const all = (selector) => [...svg.querySelectorAll(selector)].map(box);
  const cell = (element) => element.querySelector('data')?.getAttribute('value') ?? element.textContent;
  const table = [...figure.querySelectorAll('tbody tr')].map((row) => [...row.children].map(cell));
  return { end: Number(end), height: Number(height), bottom: Number(bottom), table, bars: all('rect.bar'),
    dots: all('circle'), unknown: all('rect.unknown'), title: svg.querySelector('title').textContent,
    description: svg.querySelector('desc').textContent };
}, id);

/// Bars of a time stand on one another from the axis on, and end at the sum of what GraphQL says of it.
function sameBars(chart, expected) {
  const stacks = new Map();
  for (const bar of chart.bars) {
    const day = bar.told.slice(0, 10);
    stacks.set(day, Math.min(stacks.get(day) ?? Infinity, bar.top));
  }
  const sums = new Map();
  for (const row of expected.filter((row) => row.value !== null)) {
    const day = row.bucket.slice(0, 10);
    sums.set(day, (sums.get(day) ?? 0) + Number(row.value));
  }
  assert.deepEqual([...stacks.keys()].sort(), [...sums.keys()].sort(), chart.title);
  for (const [day, sum] of sums) sameHeight(chart, stacks.get(day), sum, day);
  const ends = chart.bars.map((bar) => bar.bottom);
  assert.ok(Math.max(...ends) <= chart.bottom + UNITS_OFF_MAX, `${chart.title}: bars stand on the axis`);
}

function sameHeight(chart, y, value, what) {
  const drawn = ((chart.bottom - y) / chart.height) * chart.end;
  const off = Math.abs(drawn - value) / chart.end * chart.height;
  assert.ok(off <= UNITS_OFF_MAX, `${chart.title}, ${what}: ${drawn} is drawn for ${value}`);
}

function sameDots(chart, series, expected, scale) {
  const dots = chart.dots.filter((dot) => dot.class.split(' ').includes(series));
  const known = expected.filter((row) => row.value !== null);
  assert.deepEqual(dots.map((dot) => dot.told.slice(0, 10)), known.map((row) => row.bucket.slice(0, 10)), chart.title);
  known.forEach((row, n) => sameHeight(chart, dots[n].centre, Number(row.value) * scale, row.bucket));
}

const day = (row) => row.bucket.slice(0, 10);
const shown = (value) => value ?? '—';

async function sameFigures(page, url, key) {
  const cost = await rows(url, key, 'COST', { by: ['MODEL'] });
  let chart = await seen(page, 'cost');
  sameBars(chart, cost);
  assert.deepEqual(chart.unknown.map((band) => band.told.slice(0, 10)), [date(alone)], 'the day that nobody told the cost of');
  assert.deepEqual(chart.table, cost.map((row) => [day(row), row.key[0].value, shown(row.value), row.currency ?? '',
    row.known, row.count, String(row.coverage)]));
  assert.match(chart.description, /The greatest is /);

  const latency = [];
  for (const percentile of [50, 95, 99]) latency.push(await rows(url, key, 'TURN_LATENCY', { percentile }));
  chart = await seen(page, 'latency');
  const scale = { ms: 1e-3, s: 1e-6, min: 1 / 6e7 }[await page.locator('#latency svg .unit').first().textContent()];
  ['s0', 's1', 's3'].forEach((series, n) => sameDots(chart, series, latency[n], scale));
  assert.deepEqual(chart.table, latency[0].map((row, n) => [day(row), ...latency.map((rows) => shown(rows[n].value)),
    row.known, row.count, String(row.coverage)]));
  const untold = latency[0].filter((row) => row.value === null).map(day);
  assert.deepEqual(chart.unknown.map((band) => band.told.slice(0, 10)), untold);

  const turns = await rows(url, key, 'TURNS', { by: ['OUTCOME'] });
  chart = await seen(page, 'outcomes');
  sameBars(chart, turns);
  assert.deepEqual(chart.table, turns.map((row) => [day(row), row.key[0].value.replaceAll('_', ' '), row.value]));

  const errors = await rows(url, key, 'TOOL_ERROR_RATE');
  chart = await seen(page, 'tool-errors');
  sameDots(chart, 'bad', errors, 100);
  assert.deepEqual(chart.table, errors.map((row) => [day(row), shown(row.value), row.count]));

  const totals = await page.locator('.totals dd:not(.small) data').evaluateAll((all) => all.map((one) => one.value));
  const expected = [];
  for (const [metric, percentile] of [['COST'], ['TURNS'], ['TURN_LATENCY', 95], ['TOOL_ERROR_RATE']]) {
    expected.push(...(await rows(url, key, metric, { percentile, bucket: null })).map((row) => row.value));
  }
  assert.deepEqual(totals, expected, 'figures of the whole time');
}

async function picture(page, name) {
  if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

async function look(url, key) {
  const context = await chromium.launchPersistentContext(join(folder, 'browser'), {
    executablePath: process.env.CHROMIUM ?? spawnSync('which', ['chromium'], { encoding: 'utf8' }).stdout.trim(),
    args: ARGUMENTS, headless: true, javaScriptEnabled: false, viewport: { width: 1280, height: 900 },
  });
  try {
    const page = await context.newPage();
    const [requests, faults] = [[], []];
    page.on('request', (request) => requests.push(request.url()));
    // A browser gives hints as well, at whatever time, such as where a password manager would like a name.
    const isFault = (message) => ['error', 'warning'].includes(message.type());
    page.on('console', (message) => isFault(message) && faults.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => faults.push(String(error)));

    const address = `${url}/console/analytics?from=${date(from)}&to=${date(last)}`;
    assert.equal((await page.goto(address)).status(), 401);
    await picture(page, 'login');
    // The browser tells of the status itself; from here on it may tell of nothing.
    faults.length = 0;
    await page.getByLabel('API key').fill(key);
    await page.getByRole('button', { name: 'Log in' }).click();
    assert.equal(page.url(), address, 'it goes on to where the person wanted to be');
    await sameFigures(page, url, key);
    await picture(page, 'light');
    await page.locator('#cost summary').click();
    assert.ok(await page.locator('#cost table').isVisible(), 'the table opens without a script');
    await page.locator('#cost summary').click();
    await page.emulateMedia({ colorScheme: 'dark' });
    const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(back, 'rgb(22, 21, 15)', 'dark where the system is dark');
    await picture(page, 'dark');
    await page.emulateMedia({ colorScheme: 'light' });

    await page.getByLabel('Agent').selectOption(HOSTILE);
    await page.getByRole('button', { name: 'Show' }).click();
    assert.equal(new URL(page.url()).searchParams.get('agent'), HOSTILE);
    assert.equal(await page.title(), 'Analytics – Ruche', 'a name is text');
    const filtered = await rows(url, key, 'TURNS', { by: ['OUTCOME'], filter: { agent: HOSTILE } });
    assert.deepEqual((await seen(page, 'outcomes')).table.length, filtered.length);
    await picture(page, 'filtered');

    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(address);
    const wide = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide[0] <= wide[1], `a phone of ${wide[1]} would scroll to ${wide[0]}`);
    await picture(page, 'phone');

    assert.equal((await page.goto(`${url}/console/analytics?from=2026-02-30`)).status(), 400);
    await picture(page, 'fault');
    faults.splice(0, faults.length, ...faults.filter((fault) => !fault.includes('status of 400')));
    await page.getByRole('link', { name: 'start again' }).click();
    await page.getByRole('button', { name: 'Log out' }).click();
    assert.equal(new URL(page.url()).pathname, '/console/login');
    assert.deepEqual(faults, [], 'the browser has nothing to say');
    assert.equal((await page.goto(address)).status(), 401, 'logged out');
    const elsewhere = requests.filter((request) => !request.startsWith(`${url}/`));
    assert.deepEqual(elsewhere, [], 'nothing comes from elsewhere');
  } finally {
    await context.close();
  }
}

const server = spawn(
  program,
  ['demo', '--json', '--listen', '127.0.0.1:0', '--data-dir', join(folder, 'data'), '--keys-dir', join(folder, 'keys')],
  { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, RUCHE_LOG: 'warn' } },
);
const ended = new Promise((resolve) => server.once('exit', resolve));
try {
  if (pictures) mkdirSync(pictures, { recursive: true });
  const { listening, key } = await started(server);
  const url = `http://${listening}`;
  await recordUnknown(url, key);
  await caughtUp(url, key);
  await look(url, key);
  console.log('console: the page shows what GraphQL answers');
} finally {
  server.kill('SIGTERM');
  await ended;
  rmSync(folder, { recursive: true, force: true });
}
