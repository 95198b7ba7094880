#!/usr/bin/env python3
"""A slow oracle for metering: golden cases in exact fractions, computed the long way round.

Nothing here is shared with the production code, nor with any library of ours: levels are replayed event by event, days are
walked one by one, tiers are cut into pieces. `python3 oracle.py > oracle.json` writes the file of cases beside it; the
same seed writes the same bytes.
"""

import json
import random
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction as F
from zoneinfo import ZoneInfo

from oracle_numbers import ceil, expected, floor, half_away, plain, scaled

SEED = 20261123
rng = random.Random(SEED)
cases = []


def decimal(low, high, places):
    unit = 10 ** places
    return F(rng.randint(low * unit, high * unit), unit)


def case(kind, name, data, expect):
    cases.append({"id": f"oracle-{kind}-{name}", "kind": kind, "input": data, "expect": expect, "source": "oracle.py"})


# --- prices ----------------------------------------------------------------------------------------------------------

def pieces(units, tiers):
    """Which part of 0..units is in each tier (previous end, own end]; None for a tier that is not reached."""
    start = F(0)
    found = []
    for index, tier in enumerate(tiers):
        end = tier["to"]
        if index and units <= start:
            found.append(None)
        else:
            stop = units if end is None else min(units, end)
            found.append(stop - start)
        if end is not None:
            start = end
    return found


def graduated(units, tiers):
    return sum(
        (tier["flat"] + tier["price"] * part for part, tier in zip(pieces(units, tiers), tiers) if part is not None), F(0)
    )


def volume(units, tiers, full=None):
    level = units if full is None else full
    for tier in tiers:
        if tier["to"] is None or level <= tier["to"]:
            return units * tier["price"] + tier["flat"]
    raise AssertionError


def tiers(ends, prices, flats):
    return [{"to": end, "price": F(price), "flat": F(flat)} for end, price, flat in zip(ends + [None], prices, flats)]


def shown_tiers(ts, price="per_unit", end="to", divisor=1):
    shown = []
    start = F(0)
    for tier in ts:
        entry = {end: None if tier["to"] is None else plain(tier["to"]), price: plain(tier["price"] * divisor), "flat": plain(tier["flat"])}
        if end == "to":
            entry["from"] = plain(start)
            start = start if tier["to"] is None else tier["to"] + 1
        shown.append(entry)
    return shown


def average(amount, units):
    return expected(amount / units) if units else "0"


TIERS = {
    "whole": tiers([F(10), F(20)], ["10", "5", "1"], ["2", "3", "4"]),
    "decimal": tiers([F(1, 10), F(1), F(5, 2)], ["0.333", "7.77", "0.01", "0"], ["0", "0.5", "0", "9.99"]),
    "one": tiers([], ["0.000000000000000000000000000001"], ["0"]),
    "steep": tiers([F(1), F(10) ** 12], ["1e0", "0.000001", "0.0000001"], ["1", "0", "0"]),
}
UNITS = ["0", "0.1", "0.10000000000000000000000000000000001", "1", "2.5", "10", "10.5", "20", "20.000001", "1000000000000", "123456789012345678901234567890.123456789"]


def prices():
    for shape, ts in TIERS.items():
        for index, units in enumerate(rng.sample(UNITS, 5) + ["0"] * (shape == "whole")):
            u = F(units)
            amount = graduated(u, ts)
            case("graduated", f"{shape}-{index}", {"units": units, "ranges": shown_tiers(ts)}, {"amount": expected(amount), "unit_amount": average(amount, u)})
        for index, units in enumerate(rng.sample(UNITS, 3)):
            u = F(units)
            amount = volume(u, ts)
            case("volume", f"{shape}-{index}", {"units": units, "ranges": shown_tiers(ts)}, {"amount": expected(amount), "unit_amount": average(amount, u)})
        for index, units in enumerate(rng.sample(UNITS, 3)):
            u = F(units)
            hundredths = [{**tier, "price": tier["price"] / 100} for tier in ts]
            amount = graduated(u, hundredths)
            data = {"units": units, "ranges": shown_tiers(hundredths, "rate", divisor=100)}
            case("graduated_percentage", f"{shape}-{index}", data, {"amount": expected(amount), "unit_amount": average(amount, u)})
        units = F(rng.choice(UNITS[3:]))
        case("graduated_upto", shape, {"units": plain(units), "tiers": shown_tiers(ts, end="up_to")}, {"amount": expected(graduated(units, ts))})
        case("volume_upto", shape, {"units": plain(units), "tiers": shown_tiers(ts, end="up_to")}, {"amount": expected(volume(units, ts))})
        for name, before, line in [("first", F(0), F(7)), ("later", F(10), F(21, 2)), ("none", F(5), F(0))]:
            amount = graduated(before + line, ts) - (graduated(before, ts) if before else 0)
            data = {"previous_units": plain(before), "line_units": plain(line), "tiers": shown_tiers(ts, end="up_to")}
            case("graduated_upto_split", f"{shape}-{name}", data, {"amount": expected(amount)})
    for full, units in [("300", "198.6"), ("100", "50"), ("10.5", "0"), ("0", "0")]:
        ts = TIERS["whole"]
        amount = volume(F(units), ts, F(full))
        data = {"units": units, "full_units": full, "ranges": shown_tiers(ts)}
        case("volume", f"prorated-{full}", data, {"amount": expected(amount), "unit_amount": average(amount, F(full))})
    for index, (units, amount) in enumerate([("0", "5"), ("-3", "0.5"), ("0.000000000000000000001", "0.000000000000000000003"), ("98765432109876543210987654321", "1.1"), ("7", "0")]):
        total = F(units) * F(amount)
        case("standard", str(index), {"units": units, "amount": amount}, {"amount": expected(total), "unit_amount": average(total, F(units))})
    for index, (units, amount, size, free) in enumerate([("0", "5", "10", "0"), ("10", "5", "10", "0"), ("10.0000000001", "5", "10", "0"), ("200", "5", "10", "200"), ("200.5", "5", "0.5", "200"), ("1e25", "0.01", "3", "1"), ("3", "1", "7", "5")]):
        paid = max(F(0), F(units) - F(free))
        packages = 0
        if paid:
            packages = int(paid / F(size))
            packages += packages * F(size) < paid
        total = packages * F(amount)
        data = {"units": units, "amount": amount, "package_size": size, "free_units": free}
        case("package", str(index), data, {"amount": expected(total), "unit_amount": average(total, paid)})
    for index, (units, cents, subunits) in enumerate([("3", "100", "1000"), ("0", "5", "100"), ("7", "12345678901234567890.123", "1"), ("2", "-50", "100")]):
        total = F(cents) / F(subunits)
        data = {"units": units, "precise_total_amount_cents": cents, "subunits": subunits}
        case("dynamic", str(index), data, {"amount": expected(total), "unit_amount": average(total, F(units))})


# --- percentages -----------------------------------------------------------------------------------------------------

def percentage_by_walking(values, rate, fixed, event_limit, amount_limit):
    """Walks the events one by one: what is free until the first limit is reached."""
    free_units, free_events, total, open_ = F(0), 0, F(0), bool(event_limit or amount_limit)
    for position, value in enumerate(values):
        if event_limit and position >= event_limit:
            open_ = False
        if not open_:
            break
        if amount_limit and total + value > amount_limit:
            free_units = amount_limit
            break
        total += value
        free_units, free_events = total, free_events + 1
    amount = (sum(values, F(0)) - free_units) * rate / 100 + (len(values) - free_events) * fixed
    return amount, free_units, free_events


def percentages():
    for index in range(14):
        values = [decimal(0, 500, 2) + F(1, 100) for _ in range(rng.randint(1, 6))]
        rate, fixed = decimal(0, 10, 3), rng.choice([F(0), F(2), F(3, 10)])
        event_limit = rng.choice([None, None, 1, 2, 3, 6])
        amount_limit = rng.choice([None, None, F(100), F(400), sum(values), F(5000)])
        if index == 0:
            values, event_limit, amount_limit = [F(100), F(150), F(200)], None, F(250)
        if index == 1:
            values, event_limit, amount_limit = [F(100), F(150)], 2, F(250)
        if index == 2:
            values, event_limit, amount_limit = [F(100), F(150), F(10) ** 20], 3, F(250)
        amount, free_units, free_events = percentage_by_walking(values, rate, fixed, event_limit, amount_limit)
        running = [sum(values[: n + 1], F(0)) for n in range(len(values))]
        data = {
            "units": plain(sum(values)), "event_count": str(len(values)), "running_total": [plain(r) for r in running],
            "rate": plain(rate), "fixed_amount": plain(fixed),
            "free_units_per_events": None if event_limit is None else str(event_limit),
            "free_units_per_total_aggregation": None if amount_limit is None else plain(amount_limit),
        }
        case("percentage_total", str(index), data, {
            "amount": expected(amount), "free_units": expected(free_units), "free_events": str(free_events),
            "unit_amount": average(amount, sum(values)),
        })
    data = {"units": "90", "event_count": "4", "running_total": [], "rate": "1", "fixed_amount": "1", "free_units_per_events": "4", "free_units_per_total_aggregation": "0"}
    case("percentage_total", "every-event-free", data, {"amount": "0"})
    for index in range(10):
        values = [decimal(0, 300, 2) + F(1, 100) for _ in range(rng.randint(1, 6))]
        rate, fixed = decimal(0, 10, 3), rng.choice([F(0), F(1), F(1, 4)])
        event_limit = rng.choice([None, 1, 3])
        amount_limit = rng.choice([None, F(150), F(600)])
        least, most = rng.choice([(None, None), (F(2), None), (None, F(5)), (F(1), F(4))])
        total, free, paid = F(0), bool(event_limit or amount_limit), F(0)
        for position, value in enumerate(values):
            if event_limit and position >= event_limit:
                free = False
            on = value
            if free and amount_limit is None:
                on = None
            elif free and total + value <= amount_limit:
                on = None
            elif free:
                on, free = total + value - amount_limit, False
            total += value
            if on is not None:
                one = on * rate / 100 + fixed
                one = one if least is None else max(one, least)
                paid += one if most is None else min(one, most)
        data = {
            "event_values": [plain(v) for v in values], "rate": plain(rate), "fixed_amount": plain(fixed),
            "free_units_per_events": None if event_limit is None else str(event_limit),
            "free_units_per_total_aggregation": None if amount_limit is None else plain(amount_limit),
            "min": None if least is None else plain(least), "max": None if most is None else plain(most),
        }
        case("percentage_per_transaction", str(index), data, {"amount": expected(paid)})


def prorated_graduated():
    """Each event is cut at every tier's end; each piece carries its share of the prorated units into its tier."""
    for index in range(8):
        ts = TIERS["whole"] if index % 2 else TIERS["decimal"]
        ends = [tier["to"] for tier in ts if tier["to"] is not None]
        count = rng.randint(1, 6)
        full = [decimal(-6, 12, 1) or F(1) for _ in range(count)]
        full[0] = abs(full[0]) + 1
        if index == 6:
            full = [F(5), F(-20)]
        share = [decimal(1, 100, 0) / 100 for _ in full]
        prorated = [f * s for f, s in zip(full, share)]
        level, highest = F(0), F(0)
        inside = [F(0)] * len(ts)
        for whole, part in zip(full, prorated):
            low, high = sorted([level, level + whole])
            cuts = [low] + [end for end in ends if low < end < high] + [high]
            for start, stop in zip(cuts, cuts[1:]):
                tier = next(i for i, t in enumerate(ts) if t["to"] is None or stop <= t["to"])
                inside[tier] += part * (stop - start) / (high - low)
            level += whole
            highest = max(highest, level)
        amount = F(0)
        if level >= 0:
            reached = [part is not None for part in pieces(highest, ts)]
            amount = sum((u * t["price"] for u, t in zip(inside, ts)), F(0)) + sum((t["flat"] for t, r in zip(ts, reached) if r), F(0))
        data = {"ranges": shown_tiers(ts), "full_units": [plain(f) for f in full], "prorated_units": [plain(p) for p in prorated]}
        case("prorated_graduated", str(index), data, {"amount": expected(amount, 9)})


# --- aggregates ------------------------------------------------------------------------------------------------------

def moment(at):
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def rounding():
    functions = {"round": half_away, "ceil": ceil, "floor": floor}
    values = ["2.5", "-2.5", "0", "0.5", "-0.5", "149.999999999999999999999999999999", "-150", "1e20", "0.00000000000000000000000000005"]
    for index, value in enumerate(values):
        for name, function in functions.items():
            places = rng.choice([None, 0, 2, -1, -2, 28])
            got = scaled(function, F(value), places or 0)
            data = {"value": value, "function": name, "precision": None if places is None else str(places)}
            case("round_units", f"{index}-{name}", data, {"value": expected(got)})
    case("round_units", "unchanged", {"value": "1.23456", "function": None, "precision": None}, {"value": "1.23456"})


def weighted():
    """Sorts, then sums level × seconds piece by piece."""
    spans = [
        (datetime(2023, 8, 1, tzinfo=timezone.utc), datetime(2023, 9, 1, tzinfo=timezone.utc)),
        # March in Berlin is an hour short, October an hour long.
        (datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(timezone.utc), datetime(2026, 4, 1, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(timezone.utc)),
        (datetime(2026, 10, 1, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(timezone.utc), datetime(2026, 11, 1, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(timezone.utc)),
        (datetime(2024, 2, 28, 23, 59, 59, tzinfo=timezone.utc), datetime(2024, 3, 1, tzinfo=timezone.utc)),
    ]
    for index, (start, stop) in enumerate(spans * 2):
        seconds = int((stop - start).total_seconds())
        events = [(start + timedelta(seconds=rng.randrange(seconds), microseconds=rng.randrange(10 ** 6) * (index % 2)), decimal(-20, 50, 3)) for _ in range(rng.randint(0, 7))]
        events.append((start, F(1, 8)))
        initial = rng.choice([F(0), F(1000), F(123456789012345678901)])
        order = sorted(range(len(events)), key=lambda i: (events[i][0], i))
        level, at, area = initial, start, F(0)
        micro = timedelta(microseconds=1)
        for i in order:
            when, value = events[i]
            area += level * ((when - at) // micro)
            level, at = level + value, when
        area += level * ((stop - at) // micro)
        data = {
            "from": moment(start), "to_exclusive": moment(stop), "period_days": str((stop.date() - start.date()).days), "initial": plain(initial),
            "events": [{"timestamp": moment(when), "value": plain(value)} for when, value in events],
        }
        case("weighted_sum", str(index), data, {"value": expected(area / ((stop - start) // micro)), "count": str(len(events))})


ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Europe/Berlin"]


def days_of(start, last):
    day = start
    while day <= last:
        yield day
        day += timedelta(days=1)


def prorations():
    for index, zone in enumerate(ZONES):
        tz = ZoneInfo(zone)
        first, last = date(2024, 10, 20), date(2024, 11, 19)
        events = []
        for _ in range(rng.randint(1, 6)):
            local = datetime(2024, 10, 20, tzinfo=tz) + timedelta(days=rng.randrange(31), seconds=rng.randrange(86400))
            events.append((local.astimezone(timezone.utc), decimal(-5, 90, 3)))
        events.append((datetime(2024, 11, 19, 23, 59, 59, tzinfo=tz).astimezone(timezone.utc), F(31)))
        total = F(0)
        for at, value in events:
            local = at.astimezone(tz).date()
            total += value * sum(1 for _ in days_of(local, last)) / 31
        shown = [{"timestamp": moment(at), "value": plain(value)} for at, value in events]
        data = {"events": shown, "last_day": str(last), "period_days": "31", "timezone": zone}
        case("prorated_sum", zone, data, {"prorated": expected(total), "value": plain(sum(v for _, v in events))})
        held, held_days = decimal(0, 99, 2), rng.randint(0, 31)
        recurring = total + held * held_days / 31
        data = {**data, "persisted": plain(held), "persisted_days": str(held_days)}
        case("prorated_recurring_sum", zone, data, {"prorated": expected(recurring, 7, up=True), "value": plain(held + sum(v for _, v in events))})
    for index, (value, days, period) in enumerate([("0", 10, 31), ("15", 0, 31), ("-7.5", 7, 28), ("123456789012345678901234567890", 1, 366), ("1", 28, 28)]):
        data = {"value": value, "days": str(days), "period_days": str(period)}
        case("prorated_persisted", str(index), data, {"prorated": expected(F(value) * days / period)})


def uniques():
    for index in range(8):
        events = []
        for _ in range(rng.randint(1, 14)):
            at = datetime(2023, 3, 1, tzinfo=timezone.utc) + timedelta(hours=rng.randrange(200))
            events.append((at, rng.choice("abcd"), rng.choice(["add", "add", "remove"])))
        active, effect = set(), 0
        for i in sorted(range(len(events)), key=lambda i: (events[i][0], i)):
            _, value, op = events[i]
            if op == "add" and value not in active:
                active.add(value)
                effect += 1
            if op == "remove" and value in active:
                active.remove(value)
                effect -= 1
        assert effect == len(active)
        shown = [{"timestamp": moment(at), "value": value, "op": op} for at, value, op in events]
        case("unique_count", str(index), {"events": shown}, {"value": str(effect)})
    case("unique_count", "none", {"events": []}, {"value": "0"})
    for index, zone in enumerate(ZONES * 2):
        tz = ZoneInfo(zone)
        first, last = date(2024, 3, 5), date(2024, 4, 4)
        start = datetime(2024, 3, 5, tzinfo=tz)
        events = []
        for _ in range(rng.randint(1, 12)):
            local = start + timedelta(hours=rng.randrange(-400, 700), minutes=rng.randrange(1, 59))
            events.append((local.astimezone(timezone.utc), rng.choice("ab"), rng.choice(["add", "remove"])))
        counted = 0
        for value in "ab":
            mine = sorted((i for i in range(len(events)) if events[i][1] == value), key=lambda i: (events[i][0], i))
            for day in days_of(first, last):
                active = False
                touched = False
                for i in mine:
                    at, _, op = events[i]
                    local = at.astimezone(tz).date()
                    if local < day:
                        active = op == "add"
                    elif local == day and op == "add":
                        touched = True
                counted += active or touched
        shown = [{"timestamp": moment(at), "value": value, "op": op} for at, value, op in events]
        data = {"from": moment(start), "last_day": str(last), "period_days": "31", "timezone": zone, "events": shown}
        case("prorated_unique_count", f"{zone}-{index}", data, {"value": expected(F(counted, 31), 5, up=index % 2 == 1)})


def simple_aggregates():
    for index, values in enumerate([[], ["0"], ["5", "-3"], ["-3", "0.000000000000000000000000000000000001"], ["1", "98765432109876543210.5"]]):
        case("latest", str(index), {"values_by_time": values}, {"value": expected(max(F(0), F(values[-1]))) if values else "0"})
    for index, (before, inside, recurring) in enumerate([([], [], True), (["1.1"], ["2.2"], False), (["1.1"], ["2.2", "-0.3"], True), (["9" * 38], ["1", "0." + "0" * 40 + "1"], True)]):
        values = (before if recurring else []) + inside
        case("sum", str(index), {"before_period": before, "in_period": inside, "recurring": recurring}, {"value": expected(sum(map(F, values), F(0))), "count": str(len(values))})
    rejected = lambda *indexes: [{"index": i, "error": "transaction_id: value_already_exist", "http": "422"} for i in indexes]
    event = lambda sub, tx, at, value: {"sub": sub, "transaction_id": tx, "timestamp": at, "value": value}
    case("dedupe", "retry", {"store": "postgres", "events": [event("s", "t", "1", "5")] * 3}, {"accepted": ["5"], "rejected": rejected(1, 2)})
    case("dedupe", "subscriptions", {"store": "postgres", "events": [event("s", "t", "1", "5"), event("r", "t", "1", "6"), event("s", "u", "1", "7")]}, {"accepted": ["5", "6", "7"], "rejected": []})


# --- credits ---------------------------------------------------------------------------------------------------------

def drawdowns():
    for index in range(8):
        grants = []
        for n in range(rng.randint(1, 6)):
            grants.append({
                "id": f"g{n}", "amount": plain(decimal(0, 100, 2)), "priority": rng.randint(1, 3),
                "created": f"2026-01-{rng.randint(1, 4):02}T00:00:00Z", "kind": rng.choice(["granted", "purchased"]),
            })
        total = sum((F(g["amount"]) for g in grants), F(0))
        amount = rng.choice([F(0), total, total / 2, total * 3 / 4])
        amount = scaled(floor, amount, 2)
        left, consumed = amount, {g["id"]: F(0) for g in grants}
        waiting = list(range(len(grants)))
        while left and waiting:
            best = waiting[0]
            for i in waiting[1:]:
                a, b = grants[i], grants[best]
                if (a["priority"], a["kind"] == "purchased", a["created"]) < (b["priority"], b["kind"] == "purchased", b["created"]):
                    best = i
            take = min(left, F(grants[best]["amount"]))
            consumed[grants[best]["id"]] += take
            left -= take
            waiting.remove(best)
        case("credit_drawdown", str(index), {"grants": grants, "amount": plain(amount)}, {
            "consumed": {k: plain(v) for k, v in consumed.items() if v},
            "remaining": {g["id"]: plain(F(g["amount"]) - consumed[g["id"]]) for g in grants},
        })
    case("credit_drawdown_error", "by-a-hair", {"grants": [{"id": "a", "amount": "1", "priority": 1, "created": "2026-01-01T00:00:00Z", "kind": "granted"}], "amount": "1.000000000000000000000000000001"}, {"error": "exceeds_available_amount"})
    case("credit_drawdown_error", "none", {"grants": [], "amount": "1"}, {"error": "exceeds_available_amount"})
    for index in range(6):
        grants = [{"id": f"g{n}", "balance": plain(decimal(0, 60, 1)), "priority": rng.randint(0, 2), "expires": rng.choice(["2026-02-01", "2026-03-01"]), "created": rng.randint(0, 2)} for n in range(rng.randint(0, 5))]
        usage = decimal(0, 200, 1)
        left, balance = usage, {}
        for n, g in sorted(enumerate(grants), key=lambda e: (e[1]["priority"], e[1]["expires"], e[1]["created"], e[0])):
            take = min(left, F(g["balance"]))
            balance[g["id"]] = plain(F(g["balance"]) - take)
            left -= take
        case("grant_burn", str(index), {"grants": grants, "usage": plain(usage)}, {"balance": balance, "overage": plain(left)})
    for index, (amount, usage, preserve, balance) in enumerate([("100", "100", True, "100"), ("100", "250", True, "0"), ("100", "250", False, "100"), ("100.5", "100.75", True, "100.25"), ("100", "0", True, "100")]):
        case("grant_burn_recurring", str(index), {"amount": amount, "usage_before_recurrence": usage, "preserve_overage_into_recurrence": preserve}, {"balance_after_recurrence": balance})


def wallets():
    for index in range(8):
        fees = [{"key": key, "cap": str(rng.randint(0, 3000))} for key in ["subscription", "charge", "commitment"][: rng.randint(1, 3)]]
        total = sum(int(fee["cap"]) for fee in fees)
        if index % 3 == 2:
            total = total * 2 // 3
        owned = [{"id": f"w{n}", "balance": str(rng.randint(0, 1500)), "priority": rng.randint(1, 3), "created": rng.randint(1, 9) * 10 + n, "fee_types": rng.choice([[], ["charge"], ["subscription"], ["charge", "subscription"]])} for n in range(rng.randint(1, 6))]
        left = {fee["key"]: int(fee["cap"]) for fee in fees}
        allocation = {}
        for wallet in sorted(owned, key=lambda w: (w["priority"], w["created"])):
            has = int(wallet["balance"])
            buckets = [fee["key"] for fee in fees if not wallet["fee_types"] or fee["key"] in wallet["fee_types"]]
            buckets.sort(key=lambda key: -left[key])
            for key in buckets:
                pay = max(0, min(has, left[key], total))
                has, total = has - pay, total - pay
                left[key] -= pay
                allocation[wallet["id"]] = allocation.get(wallet["id"], 0) + pay
        invoice_total = sum(int(fee["cap"]) for fee in fees)
        if index % 3 == 2:
            invoice_total = invoice_total * 2 // 3
        case("wallet_allocation", str(index), {"invoice_total": str(invoice_total), "wallets": owned, "fees": fees}, {"allocation": {k: str(v) for k, v in allocation.items() if v}})


def topups():
    for index, (threshold, paid, granted, ongoing, pending, most) in enumerate([
        ("10", "50", "0", "10", "0", None), ("10", "50", "0", "10.000001", "0", None), ("10", "50", "0", "-40", "0", None),
        ("10", "50", "0", "-39.99", "0", None), ("10", "50", "60", "9", "0", None), ("0", "0.3", "0", "-1", "0", None),
        ("10", "50", "0", "5", "6", None), ("10", "50", "0", "-1000", "0", "120"), ("10", "50", "0", "-1000000000000000000000.5", "0", None),
    ]):
        T, P, G, B, W = map(F, (threshold, paid, granted, ongoing, pending))
        credits = F(0)
        if B + W <= T:
            credits = P
            # Steps one by one would take for ever on large gaps: leap close below first.
            gap = T - B - W - G
            if gap > 1000 * P:
                credits = int(gap / P) * P - P
            while not B + W + G + credits > T:
                credits += P
            if most is not None:
                credits = min(credits, F(most))
        data = {"threshold": threshold, "paid_credits": paid, "granted_credits": granted, "ongoing_balance": ongoing, "pending_credits": pending, "max": most}
        case("threshold_topup_fixed", str(index), data, {"paid_credits": plain(credits)})
    for index, (credits, rate, exponent) in enumerate([("1.005", "1", 2), ("0.5", "1", 0), ("-0.5", "1", 0), ("3.3335", "0.5", 3), ("7", "3", 2), ("0", "1", 2), ("123456789012345678901.005", "1", 2)]):
        cents = half_away(F(credits) * F(rate) * 10 ** exponent)
        case("credit_amount", str(index), {"credits": credits, "rate": rate, "currency_exponent": str(exponent)}, {"amount_cents": plain(cents), "credits": expected(cents / 10 ** exponent / F(rate))})


# --- fees and invoices -----------------------------------------------------------------------------------------------

def fees():
    for index, (amount, days, period, rate) in enumerate([("1", 1, 2, "20"), ("3", 1, 2, "100"), ("5", 1, 2, "10"), ("0", 5, 31, "20"), ("100", 31, 31, "0"), ("999999999999999999", 17, 31, "19.6"), ("2999", 6, 7, "23.33"), ("10", 1, 1, "5"), ("30", 1, 1, "5"), ("1", 1, 4, "20"), ("-3", 1, 2, "100"), ("-10", 1, 1, "5")]):
        fee = F(amount) * days / period
        whole, tax = half_away(fee), half_away(fee * F(rate) / 100)
        case("prorated_fee_tax", str(index), {"amount_cents": amount, "days": str(days), "period_days": str(period), "tax_rate": rate}, {"fee": plain(whole), "tax": plain(tax), "total": plain(whole + tax)})
    for index, (least, days, period, used) in enumerate([("1000", 28, 28, "1000"), ("1000", 28, 28, "1001"), ("1001", 1, 2, "0"), ("1003", 1, 2, "500"), ("1000", 0, 28, "0"), ("1000", 1, 3, "0.5"), ("1001", 1, 4, "0")]):
        value = max(F(0), half_away(F(least) * days / period - F(used)))
        case("true_up", str(index), {"min_cents": least, "days": str(days), "period_days": str(period), "used_cents": used}, {"true_up": plain(value)})
    for index, (amount, a, b, c, d) in enumerate([("1", "2024-02-01", "2024-02-01", "2024-02-01", "2024-02-02"), ("366", "2024-02-29", "2024-02-29", "2024-01-01", "2024-12-31"), ("3", "2023-02-28", "2023-03-01", "2023-02-27", "2023-03-02"), ("100", "2023-02-01", "2023-01-31", "2023-02-01", "2023-02-28"), ("12345678901234567890", "2024-01-01", "2024-01-07", "2024-01-01", "2024-01-31"), ("-1", "2024-02-01", "2024-02-01", "2024-02-01", "2024-02-02")]):
        day = date.fromisoformat
        billed = len(list(days_of(day(a), day(b))))
        period = len(list(days_of(day(c), day(d))))
        case("prorated_days", str(index), {"amount_cents": amount, "from": a, "to_inclusive": b, "period_from": c, "period_to": d}, {"fee": plain(half_away(F(amount) * billed / period))})
        case("commitment_coefficient", str(index), {"from": a, "to": b, "period_from": c, "period_to": d}, {"coefficient": expected(F(billed, period), 16)})


def progressive():
    for index, (plan, days, period, usage, thresholds) in enumerate([
        ("3100", 31, 31, [], ["100"]), ("3100", 0, 31, ["99", "1"], ["100"]), ("3101", 1, 2, ["1000"], ["100", "200", "300"]),
        ("0", 31, 31, ["0.5"] * 5, ["1", "2"]), ("0", 1, 1, ["0.4", "0.1"], ["1"]), ("100", 1, 3, ["50", "50", "50.5", "49.5"], ["100", "150", "150.0"][:2]),
        ("1000", 30, 30, ["10"] * 7, ["25", "30", "65"]), ("1000", 30, 30, ["100.25", "0.25"], ["100"]), ("1000", 30, 30, ["-0.5"], ["100"]),
    ]):
        total, billed, peak, invoices = F(0), F(0), F(0), []
        for cents in usage:
            total += F(cents)
            if any(peak < F(t) <= total for t in thresholds):
                invoices.append(half_away(total) - billed)
                billed = half_away(total)
            peak = max(peak, total)
        fee = half_away(F(plan) * days / period)
        final = fee + half_away(total)
        data = {"plan_cents": plan, "plan_days": str(days), "period_days": str(period), "usage_cents": usage, "thresholds": thresholds}
        case("progressive", str(index), data, {"progressive_invoices": [plain(i) for i in invoices], "final_fees": plain(final), "progressive_credit": plain(billed), "final_total": plain(final - billed)})


def coupons():
    for index in range(10):
        amounts = [rng.randint(0, 500) for _ in range(rng.randint(1, 6))]
        if index == 0:
            amounts = [1, 1, 1]
        total = sum(amounts)
        if index % 2:
            percent = rng.choice([F(0), F(25, 2), F(50), F(100), F(101, 3)])
            percent = scaled(floor, percent, 3)
            credit = half_away(total * percent / 100)
            data = {"fees": [str(a) for a in amounts], "coupon_percent": plain(percent)}
        else:
            cents = rng.randint(0, total * 5 // 4 + 1)
            if index == 0:
                cents = 2
            credit = F(cents)
            data = {"fees": [str(a) for a in amounts], "coupon_cents": str(cents)}
        credit = min(credit, F(total))
        exact = [credit * a / total if total else F(0) for a in amounts]
        shares = [floor(e) for e in exact]
        while sum(shares) < credit:
            # Whoever is furthest below the exact share gets the next one; the first among equals.
            behind = [e - s for e, s in zip(exact, shares)]
            shares[behind.index(max(behind))] += 1
        case("coupon_split", str(index), data, {"credit": plain(credit), "per_fee": [plain(s) for s in shares]})
    half = {"fees": ["1", "2"], "coupon_percent": "50"}
    case("coupon_split", "quarter", {"fees": ["1", "4"], "coupon_percent": "25"}, {"credit": "1", "per_fee": ["0", "1"]})
    case("coupon_split", "half", half, {"credit": "2", "per_fee": ["1", "1"]})
    for index in range(7):
        entries = [{"id": f"f{n}", "amount": str(rng.randint(0, 4000)), "tax_rate": rng.choice(["0", "10", "20", "7.7"]), "plan": rng.randint(1, 2)} for n in range(rng.randint(1, 6))]
        if index == 0:
            entries = [{"id": "a", "amount": "5", "tax_rate": "10", "plan": 1}, {"id": "b", "amount": "25", "tax_rate": "10", "plan": 1}, {"id": "c", "amount": "15", "tax_rate": "10", "plan": 1}]
        if index == 6:
            entries = [{"id": "back", "amount": "-5", "tax_rate": "10", "plan": 1}]
        ids = [e["id"] for e in entries]
        used = [] if index in (0, 6) else [{"cents": str(rng.randint(0, 3000)), "fees": rng.choice(["all", sorted(rng.sample(ids, rng.randint(1, len(ids))))])} for _ in range(rng.randint(0, 3))]
        left = {e["id"]: F(e["amount"]) for e in entries}
        for coupon in used:
            on = ids if coupon["fees"] == "all" else coupon["fees"]
            base = sum(left[i] for i in on)
            credit = min(F(coupon["cents"]), base)
            for i in on:
                left[i] -= credit * (left[i] / base) if base else 0
        taxes = {e["id"]: left[e["id"]] * F(e["tax_rate"]) / 100 for e in entries}
        subtotal, tax = sum(left.values()), half_away(sum(taxes.values()))
        case("coupons_taxes", str(index), {"fees": entries, "coupons_in_order": used}, {
            "fee_coupons": {e["id"]: expected(F(e["amount"]) - left[e["id"]], 9) for e in entries},
            "fee_taxes": {i: plain(half_away(t)) for i, t in taxes.items()},
            "subtotal": plain(subtotal), "taxes": plain(tax), "total": plain(subtotal + tax),
        })
    for index, (sub, usage, coupon, rate, notes, prepaid) in enumerate([("5", "0", "0", "10", "0", "0"), ("100", "50", "200", "20", "10", "10"), ("100", "50", "0", "20", "100", "100"), ("1005", "0", "0", "10", "0", "1"), ("1002", "0", "0", "10", "0", "1"), ("0", "0", "0", "20", "0", "0"), ("999999999999999999999", "1", "0", "19.6", "0", "5")]):
        excl = max(F(0), F(sub) + F(usage) - F(coupon))
        tax = half_away(excl * F(rate) / 100)
        total = max(F(0), max(F(0), excl + tax - F(notes)) - F(prepaid))
        data = {"subscription": sub, "usage": usage, "coupons": coupon, "tax_rate": rate, "credit_notes": notes, "prepaid": prepaid}
        case("invoice_order", str(index), data, {"subtotal_excl": plain(excl), "tax": plain(tax), "subtotal_incl": plain(excl + tax), "total": plain(total)})


def periods():
    for index, (at, zone) in enumerate([("2022-03-01T00:00:00", "America/New_York"), ("2022-03-01T05:00:00", "America/New_York"), ("2026-04-01T00:00:00", "Europe/Berlin"), ("2026-03-31T22:00:00", "Europe/Berlin"), ("2026-11-15T12:00:00", "Europe/Berlin"), ("2024-03-01T00:00:00", "Asia/Kolkata"), ("2024-01-01T00:00:00", "Pacific/Kiritimati"), ("2024-01-01T00:00:00", "UTC")]):
        tz = ZoneInfo(zone)
        local = datetime.fromisoformat(at).replace(tzinfo=timezone.utc).astimezone(tz)
        first = datetime(local.year, local.month, 1, tzinfo=tz)
        before = (first - timedelta(days=1)).replace(day=1)
        stop = first.astimezone(timezone.utc) - timedelta(seconds=1)
        shown = lambda t: t.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        case("period_calendar_month", str(index), {"billing_at": at + "Z", "timezone": zone}, {"from": shown(before), "to": shown(stop)})
    for index, (anchor, billing) in enumerate([(31, "2020-03-31"), (30, "2020-03-30"), (31, "2021-03-31"), (29, "2021-03-29"), (1, "2024-01-01"), (15, "2024-12-15"), (31, "2020-02-29")]):
        day = date.fromisoformat(billing)
        last_of_before = day.replace(day=1) - timedelta(days=1)
        start = last_of_before.replace(day=min(anchor, last_of_before.day))
        case("period_anniversary", str(index), {"anchor_day": str(anchor), "billing_day": billing}, {"from": str(start), "to": str(day - timedelta(days=1))})


for group in (prices, percentages, prorated_graduated, rounding, weighted, prorations, uniques, simple_aggregates, drawdowns, wallets, topups, fees, progressive, coupons, periods):
    group()
identifiers = [entry["id"] for entry in cases]
assert len(set(identifiers)) == len(identifiers), sorted({i for i in identifiers if identifiers.count(i) > 1})
print(json.dumps({"about": "Cases of the golden kinds, computed by oracle.py beside this file.", "cases": cases}, indent=1, ensure_ascii=False))
