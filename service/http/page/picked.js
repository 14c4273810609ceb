// The notes that were picked for the history, oldest first. They are forgotten when the page closes.

const MOST = 100; // as many as the API takes
const picked = [];

export const history = () => [...picked];
export const inHistory = (id) => picked.some((note) => note.id === id);

export function addToHistory(note) {
  if (inHistory(note.id)) return;
  picked.push(note);
  if (picked.length > MOST) picked.shift();
}

export function removeFromHistory(id) {
  const place = picked.findIndex((note) => note.id === id);
  if (place >= 0) picked.splice(place, 1);
}
