"""Finds a laser in the directory, waits for one if need be, and uses it.

python operate.py 127.0.0.1:7370,127.0.0.1:7371
"""

import asyncio
import sys

import folkmoot


async def find(session: folkmoot.Session, name: str) -> str:
    """Returns the full name of a component, whatever its namespace, as soon as there is one."""
    async with await session.watch() as news:
        for c in await session.components(index=news.index):
            if c.name == name:
                return c.full_name
        async for event in news:
            if event.component and event.component.name == name and event.kind == "signed_in":
                return event.key
    raise AssertionError("the news ends only by an error")


async def main(addresses: str) -> None:
    async with folkmoot.connect(addresses, "operator") as session:
        laser = await find(session, "laser")
        print(laser, "set to", await session.call(laser, "set_power", {"watts": 2.5}), "W")
        spectrum = await session.request(laser, "spectrum")
        print(spectrum.result["samples"], "samples,", len(spectrum.attachments[0]), "bytes")
        try:
            await session.call(laser, "set_power", {"watts": 100})
        except folkmoot.MethodError as error:
            print("refused:", error)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
