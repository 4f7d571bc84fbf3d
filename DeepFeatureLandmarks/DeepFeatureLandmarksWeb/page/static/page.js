// Files into the session, and keys: what the page's widgets do not offer.
(() => {
  const say = (name, value) => window.trame.state.set(`PageState__${name}`, value); // as state.py's classes are named

  // Whether a protocol may be left, by the word of the person where it was not downloaded.
  const mayLeaveProtocol = () =>
    window.trame.state.get("PageState__protocol__ProtocolState__is_downloaded") ||
    window.confirm("The open protocol was not downloaded. Leave it, and lose what it has learnt here?");

  function upload(role, files) {
    if (!files.length || (role === "protocol" && !mayLeaveProtocol())) return;
    const form = new FormData();
    for (const file of files) form.append("file", file, file.name);
    const side = ["template", "landmarks", "protocol", "carried"].includes(role) ? "template" : "target";
    const percent = `${side}__SideState__upload`;
    const request = new XMLHttpRequest();
    request.upload.onprogress = (event) => say(percent, Math.round((100 * event.loaded) / event.total));
    request.onloadend = () => {
      say(percent, -1);
      if (request.status === 0) say("message", "The upload was cut off; check the connection and send the file again.");
      if (request.status === 410 || request.status === 502)
        say("message", JSON.parse(request.responseText).error);
    };
    request.open("POST", `upload/${role}`);
    request.send(form);
  }

  function choose(role, folder) {
    const input = document.createElement("input");
    input.type = "file";
    input.id = `choose-${role}`;
    input.multiple = role === "template" || role === "target";
    input.webkitdirectory = Boolean(folder);
    input.style.display = "none";
    input.onchange = () => {
      upload(role, [...input.files]);
      input.remove();
    };
    document.querySelectorAll(`#choose-${role}`).forEach((old) => old.remove());
    document.body.append(input);
    input.click();
  }

  // What a dropped file or folder holds; a DICOM series is often dropped as its folder.
  async function filesOf(entry) {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    const files = [];
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
      if (!some.length) return files;
      for (const each of some) files.push(...(await filesOf(each)));
    }
  }

  async function drop(event, side) {
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    const files = (await Promise.all(entries.map(filesOf))).flat();
    const suffixes = window.trame.state.get("PageState__landmark_suffixes");
    const isLandmarks = files.length === 1 && suffixes.some((suffix) => files[0].name.toLowerCase().endsWith(suffix));
    if (files.length === 1 && files[0].name.toLowerCase().endsWith(".dflp")) upload("protocol", files);
    else if (!isLandmarks) upload(side, files);
    else upload(side === "template" ? "landmarks" : "reference", files);
  }

  // Of the whole page, not of a side alone: the browser would leave the page to open a file that falls beside one.
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      const side = event.target.closest(".side");
      for (const each of document.querySelectorAll(".side"))
        each.classList.toggle("dropping", kind === "dragover" && each === side);
      if (kind === "drop" && side) drop(event, side.classList.contains("side-template") ? "template" : "target");
    });

  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("textarea, select, input:not([type=checkbox], [type=range])");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const key = event.key.toLowerCase();
    if (["n", "a", "x"].includes(key)) window.trame.trigger("key", [key]);
  });

  // The picture's tile under the pointer, for the mosaic of channels.
  const tile = (event, columns, rows) => {
    const box = event.currentTarget.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return row * columns + column;
  };

  async function save(what) {
    const answer = await fetch(`export/${what}`).catch(() => null);
    if (!answer || !answer.ok) {
      say("message", answer ? await answer.text() : "The connection was lost; reload the page and try again.");
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = decodeURIComponent(answer.headers.get("X-File-Name") || what);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // The row under review and what defines it; the row, where there is no room for both.
  function reveal() {
    for (const part of [".definition", ".now"])
      document.querySelector(`.review ${part}`)?.scrollIntoView({ block: "nearest" });
  }

  function closeProtocol() {
    if (mayLeaveProtocol()) window.trame.trigger("close_protocol");
  }

  window.deepfeatures = { closeProtocol, choose, reveal, save, tile };
})();
