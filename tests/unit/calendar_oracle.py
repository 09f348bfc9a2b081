#!/usr/bin/env python3
"""Holds broker/schedule against Python's own reader of time zones and a walk over all minutes.

    calendar_oracle.py PROGRAM [SEED [CASES]]

PROGRAM (calendar_answers) says when random expressions are due next behind random times, half of
them near a change of the zone's clock; this says the same without anything clever: days one by one,
every minute of a day that is named, each taken to UTC by the zoneinfo module.
"""

import bisect
import random
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

ZONES = ("UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata",
         "Africa/Casablanca", "America/Nuuk", "Pacific/Apia", "Europe/Dublin", "America/Sao_Paulo",
         "Africa/Cairo", "Pacific/Kwajalein", "Africa/Monrovia", "Asia/Gaza")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIRST, LAST = 0, int((datetime(2060, 1, 1, tzinfo=timezone.utc) - EPOCH).total_seconds())
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
NAMES = (None, None, None, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(),
         "SUN MON TUE WED THU FRI SAT".split())
DUES = 4


# --- zones ---------------------------------------------------------------------------------------


def offset(zone, utc_s):
    """Seconds that the zone's clock is ahead of UTC."""
    local = (EPOCH + timedelta(seconds=utc_s)).astimezone(zone)
    return int(local.utcoffset().total_seconds())


def changes(zone):
    """The first second of each new offset."""
    found, step = [], 7 * 86400
    before = offset(zone, FIRST)
    for end in range(FIRST + step, LAST, step):
        after = offset(zone, end)
        if after != before:
            low, high = end - step, end
            while high - low > 1:
                middle = (low + high) // 2
                if offset(zone, middle) == before:
                    low = middle
                else:
                    high = middle
            found.append(high)
        before = after
    return found


def to_utc(zone, naive):
    """(UTC seconds, shown) of both readings of a local time; `shown` if the clock shows it then."""
    for fold in (0, 1):
        utc = naive.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)
        yield (int((utc - EPOCH).total_seconds()),
               utc.astimezone(zone).replace(tzinfo=None) == naive)


# --- expressions ---------------------------------------------------------------------------------


def field_set(text, number):
    low, high = RANGES[number]
    values = set()
    for element in text.split(","):
        span, _, step = element.partition("/")
        ends = [low, high]
        if span != "*":
            ends = [low + NAMES[number].index(word.upper()) if word.isalpha() else int(word)
                    for word in span.split("-")]
        values |= set(range(ends[0], ends[-1] + 1, int(step or 1)))
    return {value % 7 for value in values} if number == 4 else values


class Cron:
    def __init__(self, text):
        fields = text.split()
        self.minutes, self.hours, self.days, self.months, self.weekdays = (
            field_set(field, number) for number, field in enumerate(fields))
        self.either = not fields[2].startswith("*") and not fields[4].startswith("*")
        self.rhythm = len(self.hours) == 24

    def names(self, day):
        matches = (day.day in self.days, day.isoweekday() % 7 in self.weekdays)
        return day.month in self.months and (any(matches) if self.either else all(matches))

    def times(self, day):
        return (datetime(day.year, day.month, day.day, hour, minute)
                for hour in sorted(self.hours) for minute in sorted(self.minutes))


def due_times(cron, zone, moves, naive):
    """When one local time is due: nothing, once, or, in a rhythm, twice."""
    readings = list(to_utc(zone, naive))
    shown = sorted({at for at, is_shown in readings if is_shown})
    if cron.rhythm:
        return shown
    if shown:
        return shown[:1]
    # In a gap the two readings lie on both sides of the change.
    low, high = sorted(at for at, _ in readings)
    return [moves[bisect.bisect_left(moves, low)]] if low != high else []


def expect(cron, zone, moves, after):
    """The first due times behind `after`. Time zones are two days apart at most."""
    day = (EPOCH + timedelta(seconds=after)).date() - timedelta(days=3)
    dues, enough = set(), None
    while enough is None or day <= enough:
        if cron.names(day):
            for naive in cron.times(day):
                dues.update(at for at in due_times(cron, zone, moves, naive) if at > after)
            if len(dues) >= DUES and enough is None:
                enough = day + timedelta(days=3)
        day += timedelta(days=1)
    return sorted(dues)[:DUES]


# --- cases ---------------------------------------------------------------------------------------


def word(rng, number, value):
    names = NAMES[number]
    if names and rng.random() < 0.3 and value - RANGES[number][0] < len(names):
        return rng.choice((str.upper, str.lower, str.title))(names[value - RANGES[number][0]])
    return str(value)


def element(rng, number):
    low, high = RANGES[number]
    kind = rng.random()
    if kind < 0.2:
        return f"*/{rng.randint(1, high)}"
    first = rng.randint(low, high)
    if number == 1 and rng.random() < 0.5:
        first = rng.randint(0, 3)  # where clocks change
    if kind < 0.6:
        return word(rng, number, first)
    last = rng.randint(first, high)
    step = f"/{rng.randint(1, high)}" if rng.random() < 0.4 else ""
    return f"{word(rng, number, first)}-{word(rng, number, last)}{step}"


def expression(rng):
    stars = (0.15, 0.35, 0.55, 0.6, 0.6)
    fields = ["*" if rng.random() < star else
              ",".join(element(rng, number) for _ in range(rng.choice((1, 1, 1, 2, 3))))
              for number, star in enumerate(stars)]
    return " ".join(fields)


def backwards(text):
    """SUN at the end of a range is 0; the program refuses that, which is tested elsewhere."""
    for number, field in enumerate(text.split()):
        for part in field.split(","):
            ends = part.partition("/")[0].split("-")
            if len(ends) == 2 and not field_set(part, number):
                return True
    return False


def comes(cron):
    lengths = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return cron.either or any(min(cron.days) <= lengths[month - 1] for month in cron.months)


def moment(rng, moves):
    if moves and rng.random() < 0.5:
        away = rng.choice((0, 1, 60, rng.randint(0, 9000), 86400))
        return max(0, rng.choice(moves) + rng.choice((-away, away)))
    return rng.randint(FIRST, LAST - 86400 * 400)


def fixed_cases():
    """What a random walk hits too seldom: 29 February, Samoa's missing 30 December 2011."""
    apia = int((datetime(2011, 12, 28, tzinfo=timezone.utc) - EPOCH).total_seconds())
    for text in ("0 12 30 12 *", "0 12 * * *", "30 * * * *", "0 */6 * * FRI", "* * 30 12 *"):
        yield "Pacific/Apia", text, apia
    for zone in ("UTC", "America/New_York"):
        yield zone, "0 0 29 2 *", 0
        yield zone, "30 2 29 2 */7", 86400 * 365 * 2


def cases(rng, count, moves):
    yield from fixed_cases()
    for _ in range(count):
        zone = rng.choice(ZONES)
        text = expression(rng)
        while backwards(text) or not comes(Cron(text)):
            text = expression(rng)
        yield zone, text, moment(rng, [at for at in moves[zone] if at < LAST - 86400 * 400])


def main():
    program, seed, count = sys.argv[1], *(sys.argv[2:] + ["1", "1500"][len(sys.argv) - 2:])
    zones = {name: ZoneInfo(name) for name in ZONES}
    moves = {name: changes(zone) for name, zone in zones.items()}
    asked = list(cases(random.Random(int(seed)), int(count), moves))
    said = subprocess.run([program], input="".join(f"{z}|{t}|{a}\n" for z, t, a in asked),
                          stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    wrong = abs(len(said) - len(asked))
    for (name, text, after), answer in zip(asked, said):
        wanted = " ".join(map(str, expect(Cron(text), zones[name], moves[name], after)))
        if answer != wanted:
            wrong += 1
            print(f"{name} '{text}' after {after}: {answer}, not {wanted}")
    print(f"seed {seed}: {len(asked)} cases, {wrong} wrong")
    return 1 if wrong or not said else 0


if __name__ == "__main__":
    sys.exit(main())
