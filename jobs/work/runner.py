# Runs part(item) or part(item, args) of a script and hands the result over on
# file descriptor 3: "+" and JSON, or "-" and the text of an error. Whatever the
# script prints goes to its log and cannot be taken for a result.
#
# This file is the main module, which multiprocessing imports again in processes
# that it does not fork. They find the script beside it, as module "script".
import json
import os
import sys
import traceback
import types


class NoPart(Exception):
    pass


def load(path):
    module = types.ModuleType("script")
    module.__file__ = path
    sys.modules["script"] = module
    with open(path, encoding="utf-8") as f:
        text = f.read()
    exec(compile(text, path, "exec"), module.__dict__)
    part = getattr(module, "part", None)
    if not callable(part):
        raise NoPart("the script defines no function part(item) or part(item, args)")
    return part


def takes_args(part):
    code = getattr(part, "__code__", None)
    if code is None:
        import inspect

        return len(inspect.signature(part).parameters) >= 2
    return code.co_argcount >= 2 or bool(code.co_flags & 4)


def encode(value):
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def kind(e):
    """The type of an exception and its message, as they end a traceback."""
    name = type(e).__qualname__
    if type(e).__module__ != "builtins":
        name = type(e).__module__ + "." + name
    try:
        message = str(e)
    except Exception:
        message = "<exception str() failed>"
    return name + ": " + message if message else name


def clip(text, limit):
    """At most limit bytes of a text as UTF-8: its beginning and its end."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return text
    mark = " ... "
    head = limit // 3
    tail = limit - head - len(mark)
    return data[:head].decode("utf-8", "ignore") + mark + data[-tail:].decode("utf-8", "ignore")


def explain(e):
    """At most 4000 bytes. The last line is the reason that the job gets."""
    if isinstance(e, NoPart):
        return str(e)
    if isinstance(e, SystemExit):
        return clip("the script called exit(%s)" % ("" if e.code is None else repr(e.code)), 3600)
    tb = e.__traceback__
    while tb and tb.tb_frame.f_code.co_filename == __file__:
        tb = tb.tb_next
    text = clip("".join(traceback.format_exception(type(e), e, tb)).rstrip("\n"), 3600)
    line = kind(e).partition("\n")[0][:80]
    if not text.rpartition("\n")[2].startswith(line):
        text += "\n" + line  # several lines, notes or a group stand between
    return text


def main():
    os.set_inheritable(3, False)
    out = os.fdopen(3, "wb")
    me = os.getpid()
    with sys.stdin:
        task = json.load(sys.stdin)
    sys.stdin = open(os.devnull, encoding="utf-8")
    script = task["script"]
    sys.argv = [script]
    try:
        part = load(script)
        value = part(task["item"], task["args"]) if takes_args(part) else part(task["item"])
        if hasattr(value, "__await__"):
            import asyncio

            value = asyncio.run(value)
        if os.getpid() != me:
            return  # a process that the script forked came back from part
    except BaseException as e:  # even SystemExit: the part is over either way
        if os.getpid() != me:
            raise
        answer = b"-" + explain(e).encode("utf-8", "replace")
    else:
        try:
            answer = b"+" + encode(value)
        except RecursionError:
            answer = b"-the result is nested too deep; the limit is 60"
        except Exception as e:
            answer = b"-" + clip("the result is not JSON: %s" % kind(e), 3600).encode("utf-8", "replace")
    try:
        sys.stdout.flush()
    finally:
        out.write(answer)
        out.close()


if __name__ == "__main__":
    main()
