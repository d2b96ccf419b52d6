// Drives the React example in Chromium. Usage: node react.mjs <scenario> <base URL> <folder for screenshots>
//
// Prints one JSON line when it needs something done (`{"please": ...}`, answered by a line on stdin), and at the end one
// with what it saw (`{"result": ...}`).

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { Line } from "./line.mjs";

const [scenario, base, folder] = process.argv.slice(2);
const stdin = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const errors = [];
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const BEGIN = "The station where every train waits";
const EARLY = "A clerk in a blue coat";
const MIDDLE = "the same voice";
const END = "or cut the line.";

async function please(what) {
  console.log(JSON.stringify({ please: what }));
  await stdin.next();
}

const shoot = (page, name) => page.screenshot({ path: join(folder, `react-${name}.png`) });

async function say(page, text, key = "Enter") {
  await page.fill("#composer-input", text);
  await page.press("#composer-input", key);
}

const idle = (page) =>
  page.waitForFunction(() => document.querySelector("main") && !document.querySelector("[data-live], .stop, .pending li"));
const users = (page) => page.locator(".message.user .said").allInnerTexts();
const answers = (page) => page.locator(".message.assistant .body").allInnerTexts();
const button = (page, name) => page.getByRole("button", { name, exact: true });
const link = (page, state) => page.locator(`.link[data-state="${state}"]`).waitFor();
const focused = (page) => page.evaluate(() => document.activeElement?.id);

/** Wait until the newest answer shows this text. */
const shows = (page, text) =>
  page.waitForFunction(
    (wanted) => [...document.querySelectorAll(".message.assistant")].at(-1)?.innerText.includes(wanted),
    text,
  );

const count = (text, needle) => text.split(needle).length - 1;

async function ask(page, text, expected) {
  await say(page, text);
  await shows(page, expected);
  await idle(page);
}

/** How often the story's parts are there; each once, in a whole answer. */
async function story(page) {
  await shows(page, END);
  await idle(page);
  const text = (await answers(page)).join("\n");
  return { parts: [BEGIN, EARLY, MIDDLE, END].map((part) => count(text, part)), users: await users(page) };
}

/** What axe-core finds serious or worse. */
async function accessible(page) {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return violations
      .filter((one) => one.impact === "serious" || one.impact === "critical")
      .map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" ")}`);
  });
}

const scenarios = {
  /** See words arrive, reload in the middle, read the whole answer once. */
  async reload(page) {
    await shoot(page, "01-empty");
    await say(page, "Tell me a story");
    await shows(page, EARLY);
    const early = (await answers(page)).at(-1).length;
    const announced = await page.getByTestId("announcer").innerText();
    await shows(page, "every train waits");
    await page.fill("#composer-input", "a draft");
    await shoot(page, "02-streaming");
    await page.reload();
    await shows(page, EARLY);
    const later = (await answers(page)).at(-1).length;
    const draft = await page.inputValue("#composer-input");
    await page.fill("#composer-input", "");
    const whole = await story(page);
    const said = await page.getByTestId("announcer").innerText();
    await shoot(page, "03-after-reload");
    await page.route("**/in", (route) => route.abort());
    await say(page, "This never arrives");
    await page.getByText("This never arrives").waitFor();
    await page.reload();
    await shows(page, END);
    const unsent = await page.inputValue("#composer-input");
    const again = await page.locator(".message").count();
    return { grew: later > early, draft, whole, announced, said: count(said, END), unsent, again };
  },

  /** Tools, Markdown that stays harmless, reasoning. */
  async tools(page) {
    await ask(page, "What is the weather in Oslo?", "In Oslo it is");
    await page.locator(".tool summary").click();
    const opened = await page.locator(".tool pre").allInnerTexts();
    await ask(page, "Think about the sea", "begin with what you can see");
    const thoughts = page.locator(".reasoning");
    const folded = await thoughts.getAttribute("open");
    await thoughts.locator("summary").click();
    await shoot(page, "04-tools");
    await ask(page, "Show me Markdown", "this is no link");
    await shoot(page, "05-markdown");
    const last = page.locator(".message.assistant").last();
    return {
      opened,
      folded,
      thought: await thoughts.innerText(),
      dangerous: await last.locator("img, script").count(),
      links: await last.locator("a").evaluateAll((all) => all.map((one) => one.href)),
      cells: await last.locator("td").allInnerTexts(),
      code: await last.locator("pre").innerText(),
      sent: await users(page),
    };
  },

  /** A question and an approval, by mouse and by keyboard, given and refused. */
  async approvals(page) {
    const seen = {};
    for (const verdict of ["Approve", "Deny"]) {
      await say(page, "Book a table");
      const question = page.getByRole("region", { name: "For how many people?" });
      if (verdict === "Approve") await button(question, "4").click();
      else {
        await question.getByRole("textbox").fill("a party of 5");
        await question.getByRole("textbox").press("Enter");
      }
      const card = page.locator(".card.approval");
      await card.waitFor();
      await idle(page);
      if (verdict === "Approve") {
        await shoot(page, "06-approval");
        await page.reload();
        await card.waitFor();
      }
      seen[verdict] = await card.locator("dd").allInnerTexts();
      await button(card, verdict).focus();
      await page.keyboard.press("Enter");
      await shows(page, verdict === "Approve" ? "your table is booked" : "I have booked nothing");
      await idle(page);
      seen[`focus${verdict}`] = await focused(page);
    }
    await shoot(page, "07-approved-and-denied");
    return { ...seen, answers: await page.locator(".message.assistant").count() };
  },

  /** Edit by arrow-up, another answer, back and forth between versions, undo, back to an earlier answer. */
  async history(page) {
    await ask(page, "What is the weather in Oslo?", "In Oslo it is");
    await page.press("#composer-input", "ArrowUp");
    const field = page.locator(".edit textarea");
    const offered = await field.inputValue();
    await shoot(page, "08-edit");
    await field.fill("What is the weather in Rome?");
    await field.press("Enter");
    await shows(page, "In Rome it is");
    await idle(page);
    const edited = await users(page);
    await page.locator(".message.user .versions").getByText("2/2").waitFor();
    const first = await page.locator(".message.assistant").getAttribute("data-id");
    await button(page.locator(".message.assistant"), "Try again").click();
    await page.waitForFunction((id) => document.querySelector(".message.assistant")?.dataset.id !== id, first);
    await shows(page, "In Rome it is");
    await idle(page);
    await page.locator(".message.assistant .versions").getByText("2/2").waitFor();
    await shoot(page, "09-versions");
    await button(page.locator(".message.user"), "Earlier version").click();
    await shows(page, "In Oslo it is");
    await idle(page);
    const switched = await users(page);
    await button(page.locator(".message.user"), "Later version").click();
    await shows(page, "In Rome it is");
    await page.locator(".message.assistant .versions").getByText("2/2").waitFor();
    await ask(page, "Think about rain", "begin with what you can see");
    await button(page, "Undo").click();
    await page.waitForFunction(() => document.querySelectorAll(".message").length === 2);
    await idle(page);
    const undone = await users(page);
    await ask(page, "Think about snow", "begin with what you can see");
    await page.locator(".message.assistant").first().hover();
    await button(page.locator(".message.assistant").first(), "Back to here").click();
    await page.waitForFunction(() => document.querySelectorAll(".message").length === 2);
    await idle(page);
    await page.reload();
    await shows(page, "In Rome it is");
    return { offered, edited, switched, undone, rolledBack: await users(page), focus: await focused(page) };
  },

  /** While an answer is made: one message steers it, others wait, are changed, taken back and answered. */
  async steering(page) {
    await say(page, "Plan a weekend in Lisbon");
    await shows(page, "search_places");
    await say(page, "only by train please", "Control+Enter");
    await say(page, "Think about cats");
    await say(page, "never mind this");
    await say(page, "Think about dogs");
    await page.waitForFunction(() => document.querySelectorAll('.pending li[data-state="waiting"]').length === 3);
    await shoot(page, "10-pending");
    const row = (text) => page.locator(".pending li").filter({ hasText: text });
    await button(row("never mind"), "Take back").click();
    await row("never mind").waitFor({ state: "detached" });
    await button(row("cats"), "Edit").click();
    await page.locator(".pending textarea").fill("Think about owls");
    await page.locator(".pending textarea").press("Enter");
    await row("owls").waitFor();
    await page.locator(".message.assistant .added").waitFor();
    await shoot(page, "11-steered");
    await page.waitForFunction(() => document.querySelectorAll(".message.assistant").length === 3);
    await idle(page);
    await shoot(page, "12-after-steering");
    const texts = await answers(page);
    return {
      users: await users(page),
      added: await page.locator(".added li").allInnerTexts(),
      kept: count(texts[0], "You added: only by train please"),
      answers: texts.length,
    };
  },

  /** Stop by key and by button; a failure, and another try. */
  async stop(page) {
    await say(page, "Tell me a story");
    await shows(page, EARLY);
    await page.keyboard.press("Escape");
    await page.getByText("Stopped").waitFor();
    await idle(page);
    const stopped = count((await answers(page)).at(-1), END);
    await say(page, "Tell me a longer story");
    await page.waitForFunction(() => document.querySelectorAll(".message.assistant").length === 2);
    await shows(page, EARLY);
    await button(page, "Stop").click();
    await idle(page);
    const focus = await focused(page);
    await say(page, "Fail once");
    await page.locator(".problem-note").waitFor();
    await idle(page);
    const problem = await page.locator(".problem-note span").innerText();
    await shoot(page, "13-failed");
    const found = await accessible(page);
    await button(page.locator(".problem-note"), "Try again").click();
    await shows(page, "It worked this time.");
    await idle(page);
    return { stopped, focus, problem, found, left: await page.locator(".problem-note").count(), users: await users(page) };
  },

  /** Two tabs: both see everything; while one asks the other looks on, and may ask next. */
  async tabs(page) {
    await ask(page, "What is the weather in Oslo?", "In Oslo it is");
    const other = await page.context().newPage();
    await other.goto(page.url());
    await shows(other, "In Oslo it is");
    await say(page, "Tell me a story");
    await shows(other, EARLY);
    await other.locator("[data-notice]").waitFor();
    const fixed = await button(other, "Undo").isDisabled();
    await say(other, "Think about tabs");
    await Promise.all([page, other].map((tab) => tab.locator(".pending li").getByText("Think about tabs").waitFor()));
    await shoot(other, "14-other-tab");
    const found = await accessible(other);
    const both = [];
    for (const tab of [page, other]) {
      await shows(tab, "begin with what you can see");
      await idle(tab);
      const text = (await answers(tab)).join("\n");
      both.push({ parts: [BEGIN, EARLY, MIDDLE, END].map((part) => count(text, part)), users: await users(tab) });
    }
    await other.locator("[data-notice]").waitFor({ state: "detached" });
    await say(other, "Tell me another story");
    await page.locator("[data-notice]").waitFor();
    await shows(page, EARLY);
    await button(page, "Stop").click();
    await page.getByText("Stopped").waitFor();
    await other.getByText("Stopped").waitFor();
    await Promise.all([idle(page), idle(other)]);
    await page.locator("[data-notice]").waitFor({ state: "detached" });
    await button(page, "Undo").click();
    for (const tab of [page, other]) {
      await tab.waitForFunction(() => document.querySelectorAll(".message.user").length === 3);
      await idle(tab);
    }
    return { fixed, both, found, users: [await users(page), await users(other)] };
  },

  /** The tab that asks is closed in mid-answer; the other one goes on, and may ask. */
  async handover(page) {
    await say(page, "Tell me a story");
    await shows(page, EARLY);
    const other = await page.context().newPage();
    await other.goto(page.url());
    await shows(other, EARLY);
    await page.close();
    const whole = await story(other);
    await ask(other, "Think about doors", "begin with what you can see");
    return { whole, users: await users(other) };
  },

  /** The line is cut in mid-answer and mended; later the browser is offline for a while. */
  async cut(page, line) {
    await say(page, "Tell me a story");
    await shows(page, EARLY);
    await line.cut();
    await link(page, "reconnecting");
    await shoot(page, "15-reconnecting");
    const found = await accessible(page);
    await line.mend();
    await link(page, "live");
    const whole = await story(page);
    await page.context().setOffline(true);
    await line.cut();
    await link(page, "offline");
    await say(page, "Think about islands");
    await shoot(page, "16-offline");
    await line.mend();
    await page.context().setOffline(false);
    await shows(page, "begin with what you can see");
    await idle(page);
    return { whole, found, users: await users(page), answers: await page.locator(".message.assistant").count() };
  },

  /** The server is killed in mid-answer and started again. */
  async kill(page) {
    await say(page, "Tell me a story");
    await shows(page, MIDDLE);
    await please("kill");
    await link(page, "reconnecting");
    await say(page, "What is the weather in Oslo?");
    await page.locator('.pending li[data-state="sending"]').waitFor();
    await shoot(page, "17-server-away");
    await please("start");
    await link(page, "live");
    await shows(page, "In Oslo it is");
    await idle(page);
    await page.getByText("Interrupted").waitFor();
    const texts = await answers(page);
    return { users: await users(page), kept: count(texts[0], MIDDLE), ends: count(texts[0], END), answers: texts.length };
  },

  /** Another chat is shown while an answer is made: it goes on, and is there when one comes back. */
  async leave(page) {
    await say(page, "Tell me a story");
    await shows(page, EARLY);
    await page.getByRole("link", { name: "New chat" }).click();
    await page.getByText("Where would you like to go?").waitFor();
    await ask(page, "What is the weather in Oslo?", "In Oslo it is");
    await page.goBack();
    const whole = await story(page);
    await page.evaluate((chat) => fetch(`/v1/sessions/${chat}/close`, { method: "POST" }), new URL(page.url()).searchParams.get("chat"));
    await link(page, "closed");
    await page.reload();
    await shows(page, END);
    await link(page, "closed");
    return { whole, disabled: await page.locator("#composer-input").isDisabled() };
  },

  /** The token ends while an answer streams. */
  async token(page) {
    const minted = [];
    page.on("response", (response) => {
      if (new URL(response.url()).pathname === "/token") minted.push(response.status());
    });
    const refused = [];
    page.on("response", (response) => {
      if (response.status() === 401) refused.push(new URL(response.url()).pathname);
    });
    await say(page, "Tell me a story");
    const whole = await story(page);
    await ask(page, "Think about keys", "begin with what you can see");
    return { whole, minted: minted.length, refused: refused.length, users: await users(page) };
  },

  /** A thin, slow line. */
  async slow(page) {
    const session = await page.context().newCDPSession(page);
    await session.send("Network.enable");
    const limits = { offline: false, latency: 400, downloadThroughput: 6_000, uploadThroughput: 3_000 };
    await session.send("Network.emulateNetworkConditions", limits);
    await say(page, "Tell me a story");
    const shown = Date.now();
    await page.locator(".message.user").waitFor();
    const took = Date.now() - shown;
    const whole = await story(page);
    return { whole, took };
  },

  /** Dark, on a narrow phone: nothing is wider than the screen, and the chats are behind a button. */
  async phone(page) {
    await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
    await page.setViewportSize({ width: 360, height: 740 });
    const found = [];
    const wide = async () => page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    const widths = [await wide()];
    await shoot(page, "18-phone-empty");
    found.push(...(await accessible(page)));
    await ask(page, "Show me Markdown", "this is no link");
    widths.push(await wide());
    await shoot(page, "19-phone-markdown");
    await say(page, "Book a table");
    await button(page.locator(".card.question"), "4").click();
    await page.locator(".card.approval").waitFor();
    await idle(page);
    await shoot(page, "20-phone-approval");
    found.push(...(await accessible(page)));
    widths.push(await wide());
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await button(page, "Chats").click();
    await page.locator(".chats a").waitFor();
    await page.waitForFunction(() => document.querySelector(".sidebar").getBoundingClientRect().left === 0);
    await shoot(page, "21-phone-menu");
    found.push(...(await accessible(page)));
    const chats = await page.locator(".chats a").allInnerTexts();
    await page.getByRole("radio", { name: "Light" }).check();
    const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => document.activeElement?.id === "menu");
    await page.reload();
    await page.locator(".card.approval").waitFor();
    const kept = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    return { widths, found, chats, background, light, kept };
  },

  /** What axe finds in the main states, light and dark. */
  async axe(page) {
    const found = {};
    const look = async (state, ...schemes) => {
      for (const colorScheme of ["light", ...schemes]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" }); // no colour on its way to another
        found[`${state}, ${colorScheme}`] = await accessible(page);
      }
    };
    await look("empty");
    await ask(page, "Show me Markdown", "this is no link");
    await look("Markdown", "dark");
    await say(page, "Tell me a story");
    await shows(page, EARLY);
    await say(page, "and another one");
    await page.locator('.pending li[data-state="waiting"]').waitFor();
    await look("streaming, with a waiting message", "dark");
    await button(page.locator(".pending"), "Take back").click();
    await page.locator(".pending li").waitFor({ state: "detached" });
    await page.keyboard.press("Escape");
    await idle(page);
    await say(page, "Book a table");
    await page.locator(".card.question").waitFor();
    await idle(page);
    await look("question");
    await button(page.locator(".card.question"), "2").click();
    await page.locator(".card.approval").waitFor();
    await idle(page);
    await look("approval");
    await page.press("#composer-input", "ArrowUp");
    await page.locator(".edit").waitFor();
    await look("edit", "dark");
    await shoot(page, "22-edit-dark");
    return found;
  },

  /** The keyboard, the scroll that lets go, chats at the side. */
  async frame(page) {
    await page.setViewportSize({ width: 1000, height: 420 });
    await page.keyboard.press("Tab");
    await page.locator("#composer-input").focus();
    await page.locator("#composer-input").pressSequentially("Tell me");
    await page.press("#composer-input", "Shift+Enter");
    await page.locator("#composer-input").pressSequentially("a story");
    await page.press("#composer-input", "Enter");
    await shows(page, MIDDLE);
    const place = () => page.evaluate(() => {
      const area = document.querySelector(".scroller");
      return { top: area.scrollTop, rest: area.scrollHeight - area.scrollTop - area.clientHeight };
    });
    const following = (await place()).rest;
    await page.mouse.move(600, 200);
    await page.mouse.wheel(0, -400);
    await button(page, "Newest").waitFor();
    const { top } = await place();
    await shows(page, "His train was waiting.");
    const letGo = (await place()).top === top;
    await shoot(page, "23-let-go");
    await button(page, "Newest").click();
    await page.waitForFunction(() => {
      const area = document.querySelector(".scroller");
      return area.scrollHeight - area.scrollTop - area.clientHeight < 4;
    });
    await story(page);
    const back = (await place()).rest;
    const [said] = await users(page);
    await page.getByRole("link", { name: "New chat" }).click();
    await page.getByText("Where would you like to go?").waitFor();
    const focus = await focused(page);
    await ask(page, "Think about the sea", "begin with what you can see");
    const listed = await page.locator(".chats a").allInnerTexts();
    await page.locator(".chats a").last().click();
    await shows(page, END);
    await page.goBack();
    await shows(page, "begin with what you can see");
    await page.getByRole("link", { name: "Skip to the message field" }).focus();
    await page.keyboard.press("Enter");
    const skipped = await focused(page);
    return { following, letGo, back, said, focus, listed, skipped };
  },
};

mkdirSync(folder, { recursive: true });
const line = new Line(base);
await line.open();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
  ],
});
try {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 } });
  context.setDefaultTimeout(20_000);
  const watch = (page) => {
    page.on("pageerror", (error) => errors.push(String(error.stack ?? error)));
    page.on("console", (said) => {
      // A connection that cannot be made is reported by the browser itself; the tests cut connections on purpose.
      if (said.type() === "error" && !said.text().startsWith("Failed to load resource")) errors.push(said.text());
    });
  };
  context.on("page", watch);
  const page = await context.newPage();
  await page.goto(line.url);
  await page.locator("#composer-input").waitFor();
  try {
    const result = await scenarios[scenario](page, line);
    console.log(JSON.stringify({ result, errors }));
  } catch (error) {
    const left = context.pages().at(-1);
    await shoot(left, `failed-${scenario}`);
    console.log(JSON.stringify({ failed: String(error), errors, body: await left.locator("main").innerText() }));
  }
} finally {
  await browser.close();
  line.close();
  process.exit();
}
