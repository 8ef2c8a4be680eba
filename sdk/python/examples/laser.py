"""An instrument: offers methods until it is interrupted.

python laser.py 127.0.0.1:7370,127.0.0.1:7371
"""

import sys

import folkmoot
import folkmoot.sync

laser = folkmoot.Methods()
state = {"power": 0.0}  # W


@laser.method
def set_power(watts: float) -> float:
    """Sets the power, in watts, and returns it."""
    if not 0 <= watts <= 5:
        raise folkmoot.MethodError(1, "the power is between 0 and 5 W")
    state["power"] = watts
    return watts


@laser.method
def spectrum() -> folkmoot.Reply:
    """Returns the number of samples, and the samples as bytes."""
    samples = bytes(int(state["power"] * 50) for _ in range(1000))
    return folkmoot.Reply({"samples": len(samples)}, [samples])


if __name__ == "__main__":
    with folkmoot.sync.connect(sys.argv[1], "laser", methods=laser, labels={"room": "7"}) as session:
        print(f"signed in as {session.full_name}", flush=True)
        try:
            session.lost.wait()
            sys.exit(str(session.error))
        except KeyboardInterrupt:
            print("switching off")
