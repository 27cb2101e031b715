// Drives Chromium for the Go package beside this file, which starts it as
//
//	node drive.mjs <directory of node_modules> <path of chromium>
//
// and writes one JSON object a line: {"id": 1, "do": "click", "page": 1, ...}.
// Each is answered by one line, in the order in which they are done:
// {"id": 1, "value": ...} or {"id": 1, "error": "..."}. The first line, with
// the id 0, is written when the browser is ready. At the end of standard input
// the browser is closed and the program ends.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';

const [modules, executablePath] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { chromium } = require('playwright-core');
const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

// Long, since the machine may be busy with other tests; Go waits a little longer.
const timeout = 60_000;

const browser = await chromium.launch({
  executablePath,
  headless: true,
  timeout,
  // Chromium refuses to run with its sandbox as root, which tests are in CI. It
  // shows only what the test's own server sends, and reaches nothing else.
  chromiumSandbox: false,
  args: [
    // Below the requests that are looked at one by one: no other name resolves.
    '--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1',
  ],
});

const pages = new Map();
let lastPage = 0;

const commands = {
  async open(_, o) {
    const own = new Set(o.hosts);
    const context = await browser.newContext({
      baseURL: o.base,
      viewport: { width: o.width, height: o.height },
      colorScheme: o.dark ? 'dark' : 'light',
      javaScriptEnabled: !o.noScript,
      isMobile: o.phone,
      hasTouch: o.phone,
      locale: 'en-US',
      timezoneId: 'UTC',
      serviceWorkers: 'block', // their requests would not be seen
    });
    context.setDefaultTimeout(timeout);
    context.setDefaultNavigationTimeout(timeout);
    // Pages that have no clipboard cannot be given it either.
    const { protocol, hostname, origin } = new URL(o.base);
    if (protocol === 'https:' || ['localhost', '127.0.0.1'].includes(hostname)) await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin });

    const events = [];
    const record = (kind, text, level = '') => events.push({ kind, text, level });
    const foreign = (url) => {
      const u = new URL(url);
      return ['http:', 'https:', 'ws:', 'wss:', 'ftp:'].includes(u.protocol) && !own.has(u.host);
    };
    // Requests are recorded where they begin, since what a redirect leads to does
    // not pass the route.
    context.on('request', (r) => { if (foreign(r.url())) record('foreign', `${r.resourceType()} ${r.url()}`); });
    await context.route('**/*', (route) => foreign(route.request().url()) ? route.abort('blockedbyclient') : route.continue());
    context.on('console', (m) => {
      const at = m.location();
      record('console', `${m.text()}${at.url ? ` (${at.url}:${at.lineNumber + 1})` : ''}`, m.type());
    });
    context.on('weberror', (e) => record('error', String(e.error().stack ?? e.error())));
    context.on('dialog', (d) => { record('dialog', `${d.type()}: ${d.message()}`); d.dismiss().catch(() => {}); });

    let opened = false;
    context.on('page', (p) => {
      if (opened) record('popup', p.url());
      p.on('crash', () => record('crash', p.url()));
      p.on('download', (d) => { record('download', d.url()); d.cancel().catch(() => {}); });
      p.on('websocket', (w) => socket(w.url()));
    });
    // One that finds no host is seen by the debugging protocol only, and the others twice.
    const sockets = new Set();
    const socket = (url) => {
      if (foreign(url) && !sockets.has(url)) record('foreign', `websocket ${url}`);
      sockets.add(url);
    };
    const page = await context.newPage();
    opened = true;
    const cdp = await context.newCDPSession(page);
    cdp.on('Network.webSocketCreated', ({ url }) => socket(url));
    await cdp.send('Network.enable');
    const id = ++lastPage;
    pages.set(id, { context, page, events, noScript: o.noScript, cdp });
    return id;
  },
  async close({ context }, { page }) {
    pages.delete(page);
    await context.close();
  },

  async goto({ page }, { url }) {
    const answer = await page.goto(url, { waitUntil: 'load' });
    return answer ? answer.status() : 0;
  },
  async back({ page }) { await page.goBack({ waitUntil: 'load' }); },
  async url({ page }) { return page.url(); },
  async title({ page }) { return page.title(); },
  async html({ page }) { return page.content(); },

  async click({ page }, { target }) { await page.locator(target).click(); },
  async fill({ page }, { target, text }) { await page.locator(target).fill(text); },
  async select({ page }, { target, text }) { await page.locator(target).selectOption(text); },
  async press({ page }, { keys }) { for (const key of keys) await page.keyboard.press(key); },
  async type({ page }, { text }) { await page.keyboard.type(text); },

  async waitFor({ page }, { target }) { await page.locator(target).first().waitFor({ state: 'visible' }); },
  async waitURL({ page }, { text }) { await page.waitForURL((u) => u.href.includes(text), { waitUntil: 'load' }); },
  async text({ page }, { target }) { return page.locator(target).innerText(); },
  async texts({ page }, { target }) { return page.locator(target).allInnerTexts(); },
  async count({ page }, { target }) { return page.locator(target).count(); },
  async visible({ page }, { target }) { return page.locator(target).isVisible(); },
  async attribute({ page }, { target, name }) { return page.locator(target).getAttribute(name); },
  async value({ page }, { target }) { return page.locator(target).inputValue(); },
  async aria({ page }, { target }) { return page.locator(target).ariaSnapshot(); },
  // Role and name of what has the focus, as a screen reader is told them.
  async focused({ cdp }) {
    const { result } = await cdp.send('Runtime.evaluate', { expression: 'document.activeElement' });
    if (!result.objectId) return { role: '', name: '' };
    const { nodes } = await cdp.send('Accessibility.getPartialAXTree', { objectId: result.objectId, fetchRelatives: false });
    return { role: nodes[0]?.role?.value ?? '', name: nodes[0]?.name?.value ?? '' };
  },
  // Over the debugging protocol, since the page's Content-Security-Policy forbids
  // an eval of the page's own.
  async evaluate({ cdp }, { text }) { return evaluate(cdp, text); },

  async viewport({ page }, { width, height }) { await page.setViewportSize({ width, height }); },
  async dark({ page }, { on }) { await page.emulateMedia({ colorScheme: on ? 'dark' : 'light' }); },
  async screenshot({ page }, { path, full }) { await page.screenshot({ path, fullPage: full, animations: 'disabled' }); },
  async clipboard({ page, cdp }) {
    await page.bringToFront();
    return evaluate(cdp, 'navigator.clipboard.readText()');
  },
  async axe({ cdp, noScript }) {
    // Where the page gets no scripts, timers never fire, and axe would wait for them.
    if (noScript) await evaluate(cdp, 'window.setTimeout = (f, _, ...args) => { Promise.resolve().then(() => f(...args)); return 0 }; undefined');
    await evaluate(cdp, axeSource + '; undefined');
    // Without preload: it fetches styles anew, and complains on the console where it cannot.
    return evaluate(cdp, `axe.run(document, { resultTypes: ['violations'], preload: false }).then(({ violations }) => violations.map(
      ({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map(
        ({ target, html, failureSummary }) => ({ target: target.join(' '), html, summary: failureSummary })) })))`);
  },
  async events({ cdp, events }) {
    // What the page did before is reported before this is answered.
    await cdp.send('Runtime.evaluate', { expression: '0' });
    await new Promise((done) => setTimeout(done, 0));
    return events;
  },
};

async function evaluate(cdp, expression) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Timeout ${timeout}ms exceeded: the value is a promise that nothing fulfils`)), timeout);
  });
  const { result, exceptionDetails: failed } = await Promise.race([late, cdp.send('Runtime.evaluate', {
    expression, awaitPromise: true, returnByValue: true, userGesture: false, allowUnsafeEvalBlockedByCSP: true,
  })]).finally(() => clearTimeout(timer));
  if (failed) throw new Error(failed.exception?.description ?? failed.text);
  return result.value;
}

function answer(id, what) { process.stdout.write(JSON.stringify({ id, ...what }) + '\n'); }

async function run({ id, do: name, page, ...args }) {
  try {
    const on = pages.get(page);
    if (!on && name !== 'open') throw new Error(`there is no page ${page}`);
    answer(id, { value: (await commands[name](on, { page, ...args })) ?? null });
  } catch (e) {
    answer(id, { error: String(e.message ?? e) });
  }
}

browser.on('disconnected', () => process.exit(1)); // it died: whoever waits is told by the end of the output
answer(0, { value: browser.version() });
for await (const line of createInterface({ input: process.stdin })) void run(JSON.parse(line));
browser.removeAllListeners('disconnected');
await browser.close();
process.exit(0);
