// What an empty chat offers.

const SUGGESTIONS = ["Plan a weekend in Lisbon", "What is the weather in Oslo?", "Book a table", "Tell me a story"];

export function Empty({ onChoose }: { onChoose: (text: string) => void }) {
  return (
    <section className="empty">
      <h2>Where would you like to go?</h2>
      <p>Ask something, or begin with one of these.</p>
      <ul>
        {SUGGESTIONS.map((text) => (
          <li key={text}>
            <button type="button" onClick={() => onChoose(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
