package hostile

import "strconv"

// Look is an expression of JavaScript that looks at the elements in one that a CSS
// selector finds, where a text of a publisher is shown. Its value is a list of texts,
// one for each thing that has no place there: elements that run, load, style or send
// something, attributes that do, links that are none to the web, and images from
// elsewhere. An element that is not there is one of them.
func Look(selector string) string {
	return `(() => {
		const root = document.querySelector(` + strconv.Quote(selector) + `);
		if (!root) return ["nothing is shown: " + ` + strconv.Quote(selector) + `];
		const wrong = [];
		const say = (e, what) => wrong.push(what + ": " + e.outerHTML.slice(0, 200));
		const banned = new Set(("script style link meta base title iframe frame frameset object embed applet portal svg math form button select " +
			"option textarea template noscript video audio source picture track canvas dialog marquee plaintext body html head main slot").split(" "));
		for (const e of root.querySelectorAll("*")) {
			const tag = e.localName;
			if (banned.has(tag) || tag.includes("-")) say(e, "element");
			if (tag == "input" && !(e.type == "checkbox" && e.disabled)) say(e, "field"); // of a list of tasks
			for (const { name, value } of e.attributes) {
				if (name.startsWith("on") || ["style", "srcdoc", "srcset", "formaction", "action", "autofocus", "contenteditable", "ping", "background", "poster", "is", "slot"].includes(name)) say(e, "attribute " + name);
				if (["href", "src", "cite", "xlink:href", "data"].includes(name)) {
					let to;
					try { to = new URL(value, document.baseURI) } catch { continue }
					if (!["http:", "https:", "mailto:"].includes(to.protocol)) say(e, "address");
					if (name == "src" && to.origin != location.origin) say(e, "from elsewhere");
				}
				if (name == "tabindex" && value != "0") say(e, "attribute tabindex"); // 0 is the page's own, for what scrolls
				if (name == "id" && document.querySelectorAll("#" + CSS.escape(value)).length > 1) say(e, "an id twice");
				if (name == "name" && value in document) say(e, "a name of the document's");
			}
		}
		return wrong;
	})()`
}
