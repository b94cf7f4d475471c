// The dialog that asks before anything is done, does it, and says what came of it.

import { byId, element, say } from "./dom.js";

/**
 * Asks once at a time. A question is {title, text, yes, fields, act(values)}: `act` does it and gives the sentence that is
 * told afterwards; what it throws is shown in the dialog, which stays. Fields are {name, label, unit}: numbers, null where
 * nothing was written.
 */
export class Asker {
  constructor(told) {
    this.dialog = byId("ask");
    this.told = told;
    this.question = null;
    byId("ask-no").addEventListener("click", () => this.dialog.close());
    byId("ask-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.answer();
    });
    this.dialog.addEventListener("close", () => (this.question = null));
  }

  ask(question) {
    this.question = question;
    this.inputs = new Map();
    say(byId("ask-title"), question.title);
    say(byId("ask-text"), question.text);
    say(byId("ask-yes"), question.yes);
    say(byId("ask-error"), "");
    byId("ask-yes").disabled = false;
    byId("ask-fields").replaceChildren(...(question.fields || []).map((field) => this.field(field)));
    this.dialog.showModal();
  }

  field({ name, label, unit }) {
    const input = element("input", { type: "number", min: "0", step: "any", inputmode: "decimal", placeholder: "as configured" });
    this.inputs.set(name, input);
    return element("label", {}, label, element("span", { class: "field" }, input, ` ${unit}`));
  }

  async answer() {
    const { question } = this;
    const given = [...this.inputs].filter(([, input]) => input.value !== "");
    const values = Object.fromEntries(given.map(([name, input]) => [name, input.valueAsNumber]));
    byId("ask-yes").disabled = true;
    try {
      const sentence = await question.act(values);
      this.told(sentence);
      if (this.question === question) this.dialog.close();
    } catch (error) {
      if (this.question === question) say(byId("ask-error"), error.message);
      else this.told(error.message);
    } finally {
      if (this.question === question) byId("ask-yes").disabled = false;
    }
  }
}
