// Builds elements. Whatever users wrote becomes text nodes and attributes, never markup.

/**
 * @param {string} tag
 * @param {Object} [properties] attributes; `on` holds listeners; true sets an attribute without a value; false and null leave it out
 * @param {...(Node|string|number|null|Array)} children
 * @returns {HTMLElement}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text of users, in whichever direction it is written. */
export const written = (text, tag = "bdi", properties = {}) => make(tag, { dir: "auto", ...properties }, text);

export const byId = (id) => document.getElementById(id);

/** Replaces what an element holds. */
export function show(place, ...children) {
  place.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

/** Tells a screen reader what has come. */
export const announce = (text) => { byId("announce").textContent = text; };

export const announceFound = (count) => announce(count === 1 ? "1 note found." : `${count} notes found.`);

/** A number of seconds, as people say it. */
export const seconds = (count) => (count < 1.5 ? "1 second" : `${Math.ceil(count)} seconds`);

export const percent = (share) => `${Math.round(100 * share)}%`;
