// What this browser keeps, under names of the dashboard's own.
export function kept(name, otherwise) {
  try {
    const text = localStorage.getItem(`understudy.${name}`);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

export function keep(name, value) {
  try {
    localStorage.setItem(`understudy.${name}`, JSON.stringify(value));
  } catch { /* it is kept for this page alone */ }
}
