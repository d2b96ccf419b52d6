// What one should know before writing: another tab is asking, or the line is cut while an answer is made.

export function Notice({ elsewhere, cut }: { elsewhere: boolean; cut: boolean }) {
  return (
    <div role="status">
      {cut && <p className="notice warn">The connection is cut. Nothing is lost: it goes on as soon as it is back.</p>}
      {elsewhere && !cut && (
        <p className="notice" data-notice="elsewhere">
          Another tab is asking. You see everything here; what you write waits until it is answered.
        </p>
      )}
    </div>
  );
}
