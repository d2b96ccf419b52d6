// Says that another tab of this browser is asking, and that one can look on here.

export function TabNote({ elsewhere }: { elsewhere: boolean }) {
  return (
    <div role="status">
      {elsewhere && (
        <p className="tab-note">
          Another tab is asking. You see everything here; what you write waits until it is answered.
        </p>
      )}
    </div>
  );
}
