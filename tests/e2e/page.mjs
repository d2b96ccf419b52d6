// Drives the chat page in Chromium. Usage: node page.mjs <scenario> <base URL> <folder for screenshots>
//
// Prints one JSON line when it needs something done (`{"please": ...}`, answered by a line on stdin), and at the end one
// with what it saw (`{"result": ...}`).

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [scenario, base, folder] = process.argv.slice(2);
const stdin = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const errors = [];
const STORY_END = "and see what becomes of it.";

async function please(what) {
  console.log(JSON.stringify({ please: what }));
  await stdin.next();
}

function shoot(page, name) {
  return page.screenshot({ path: join(folder, `${name}.png`) });
}

async function say(page, text) {
  await page.fill("#composer-input", text);
  await page.press("#composer-input", "Enter");
}

const idle = (page) => page.waitForFunction(() => document.querySelector("#stop").hidden && !document.querySelector(".waiting, .live"));
const answer = (page) => page.locator(".message.assistant .text").last();
const users = (page) => page.locator(".message.user .text").allInnerTexts();

/** Wait until the newest answer shows this text. */
function shows(page, text) {
  return page.waitForFunction(
    (wanted) => [...document.querySelectorAll(".message.assistant")].at(-1)?.innerText.includes(wanted), text,
  );
}

function count(text, needle) {
  return text.split(needle).length - 1;
}

async function wholeStory(page) {
  await shows(page, STORY_END);
  await idle(page);
  const text = await answer(page).innerText();
  return {
    titles: count(text, "The lighthouse that kept its word"),
    middles: count(text, "Nobody at sea noticed"),
    ends: count(text, STORY_END),
    answers: await page.locator(".message.assistant").count(),
    users: await users(page),
  };
}

const scenarios = {
  /** Type, see words arrive, reload in the middle, read the whole answer once. */
  async reload(page) {
    await shoot(page, "1-empty");
    await say(page, "Tell me a story");
    await shows(page, "Every ship");
    const early = (await answer(page).innerText()).length;
    await shows(page, "no line was ever torn");
    const later = (await answer(page).innerText()).length;
    await shoot(page, "2-streaming");
    await page.reload();
    await shows(page, "Every ship");
    const restored = await users(page);
    const result = await wholeStory(page);
    await shoot(page, "3-after-reload");
    await page.reload();
    await shows(page, STORY_END);
    return { grew: later > early, restored, ...result, again: await page.locator(".message").count() };
  },

  /** A tool call, then undo. */
  async undo(page) {
    await say(page, "What is 17.5 + 24.5?");
    await shows(page, "That makes 42.");
    await idle(page);
    await say(page, "What is the weather in Oslo?");
    await shows(page, "In Oslo it is");
    await idle(page);
    const tools = await page.locator(".tool .tool-name").allInnerTexts();
    await page.locator(".tool summary").last().click();
    await shoot(page, "4-tool");
    const before = await page.locator(".message").count();
    await page.click("#undo");
    await page.waitForFunction(() => document.querySelectorAll(".message").length === 2);
    await idle(page);
    return { tools, before, after: await users(page) };
  },

  /** A question card and an approval card, approved and denied. */
  async approve(page) {
    const states = {};
    for (const verdict of ["Approve", "Deny"]) {
      await say(page, "Book a table");
      await page.getByRole("region", { name: "Question" }).getByRole("button", { name: "4" }).click();
      const card = page.locator(".card.approval");
      await card.waitFor();
      await idle(page);
      if (verdict === "Approve") await shoot(page, "5-approval");
      states[`facts${verdict}`] = await card.locator("dd").allInnerTexts();
      await card.getByRole("button", { name: verdict }).click();
      await shows(page, verdict === "Approve" ? "your table is booked" : "I have booked nothing");
      await idle(page);
    }
    await shoot(page, "6-approved-and-denied");
    return { ...states, answers: await page.locator(".message.assistant").count() };
  },

  /** Edit a question, ask for another answer, stop one. */
  async edit(page) {
    await say(page, "What is 1 + 2?");
    await shows(page, "That makes 3.");
    await idle(page);
    await page.locator(".message.user").hover();
    await page.getByRole("button", { name: "Edit" }).click();
    await page.locator(".edit textarea").fill("What is 20 + 3?");
    await page.locator(".edit textarea").press("Enter");
    await shows(page, "That makes 23.");
    await idle(page);
    const edited = await users(page);
    const first = await page.locator(".message.assistant").getAttribute("data-id");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.waitForFunction((id) => document.querySelector(".message.assistant")?.dataset.id !== id, first);
    await shows(page, "That makes 23.");
    await idle(page);
    const regenerated = await page.locator(".message").count();
    await say(page, "Tell me a story");
    await shows(page, "Every ship");
    await page.press("#composer-input", "Escape");
    await page.getByText("Stopped").waitFor();
    await idle(page);
    const stopped = await answer(page).innerText();
    await say(page, "fail");
    await page.locator("p.problem").waitFor();
    await idle(page);
    await shoot(page, "7-failed");
    const problem = await page.locator("p.problem").innerText();
    await say(page, "What is 2 + 2?");
    await shows(page, "That makes 4.");
    return { edited, regenerated, stopped: count(stopped, STORY_END), problem };
  },

  /** The server is killed in mid-answer and started again; the page goes on by itself. */
  async kill(page) {
    await say(page, "Tell me a story");
    await shows(page, "no line was ever torn");
    await please("kill");
    await page.locator('#link[data-state="reconnecting"]').waitFor();
    await shoot(page, "8-reconnecting");
    await say(page, "What is 1 + 1?");
    await please("start");
    await page.locator('#link[data-state="live"]').waitFor();
    await shows(page, "That makes 2.");
    await idle(page);
    await shoot(page, "9-recovered");
    const texts = await page.locator(".message.assistant .body").allInnerTexts();
    return { users: await users(page), kept: count(texts[0], "no line was ever torn"), answers: texts.length, last: texts.at(-1) };
  },

  /** Two windows on one chat see the same, whoever writes. */
  async two(page) {
    const other = await page.context().newPage();
    await say(page, "What is 3 + 4?");
    await shows(page, "That makes 7.");
    await idle(page);
    await other.goto(page.url());
    await shows(other, "That makes 7.");
    await say(other, "Tell me a story");
    await shows(page, "Every ship");
    const both = [await wholeStory(page), await wholeStory(other)];
    return { both };
  },

  /** Dark, on a phone. */
  async phone(page) {
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 390, height: 780 });
    await say(page, "Help me, please");
    await shows(page, "make demo");
    await idle(page);
    await shoot(page, "10-phone-dark");
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    await page.click("#menu");
    await page.locator("#recent a").waitFor();
    await page.waitForTimeout(300);
    await shoot(page, "11-phone-menu");
    return { wide, recent: await page.locator("#recent a").allInnerTexts() };
  },
};

mkdirSync(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
  ],
});
try {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 } });
  context.setDefaultTimeout(25_000);
  const page = await context.newPage();
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (line) => {
    // A connection that cannot be made is reported by the browser itself; the tests cut connections on purpose.
    if (line.type() === "error" && !line.text().startsWith("Failed to load resource")) errors.push(line.text());
  });
  await page.goto(base);
  try {
    const result = await scenarios[scenario](page);
    console.log(JSON.stringify({ result, errors }));
  } catch (error) {
    await shoot(page, `failed-${scenario}`);
    console.log(JSON.stringify({ failed: String(error), errors, body: await page.locator("main").innerText() }));
  }
} finally {
  await browser.close();
  process.exit();
}
