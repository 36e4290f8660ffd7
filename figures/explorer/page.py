"""The page: a marimo notebook, whose cells run again when what they look at changes."""

import marimo

app = marimo.App(width="full", app_title="topdown-odes: explorer")


@app.cell
def imports():
    import io

    import marimo as mo

    from figures.explorer import choices, curves, scripts, views
    from figures.style import RULES

    return RULES, choices, curves, io, mo, scripts, views


@app.cell
def title(mo):
    mo.md("""
    # Learning curves of many rules

    A student of K hidden units learns from a teacher of M. Lines: theory. Markers: networks of N
    inputs, once you press the button, as means over runs with standard errors.
    """)
    return


@app.cell
def begin(choices, mo):
    try:
        first, first_view = choices.from_link(mo.query_params().to_dict())
        refused = []
    except ValueError as error:
        first, first_view = choices.Choices(), choices.View()
        refused = [f"The link cannot be followed. {error}"]
    axes = first_view._asdict()  # as last chosen: the menus are made anew when sliders move
    return axes, first, first_view, refused


@app.cell
def controls(RULES, choices, first, first_view, mo):
    def slider(name, label, *steps):
        value = getattr(first, name)
        return mo.ui.slider(
            steps=sorted({*steps, value}), value=value, label=label, show_value=True,
            full_width=True,
        )  # fmt: skip

    labels = {label: rule for rule, (label, *_) in RULES.items()}
    names = {rule: label for label, rule in labels.items()}
    units = range(1, 7)
    rates = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
    control = mo.ui.dictionary(
        {
            "rules": mo.ui.multiselect(
                labels, [names[each] for each in first.rules], label="rules"
            ),
            "activation": mo.ui.dropdown(
                list(choices.ACTIVATIONS), first.activation, label="activation"
            ),
            "K": slider("K", "hidden units K", *units),
            "M": slider("M", "units M of the teacher", *units),
            "lr": slider("lr", "learning rate", *rates),
            "lr_v": slider("lr_v", "learning rate of the readout", 0.0, *rates),
            "feedback_scale": slider(
                "feedback_scale", "feedback scale", 0.0, 0.1, 0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0
            ),
            "noise": slider("noise", "label noise", 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
            "t_max": slider("t_max", "final time", 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
            "N": mo.ui.number(value=first.N, step=1, label="inputs N", full_width=True),
            "n_runs": mo.ui.number(value=first.n_runs, step=1, label="runs", full_width=True),
            "seed": mo.ui.number(value=first.seed, step=1, label="seed", full_width=True),
        }
    )
    seen = mo.ui.radio(choices.VIEWS, first_view.view, inline=True, label="")
    parameter = mo.ui.dropdown(list("QRvB"), first_view.parameter, label="order parameter")
    button = mo.ui.run_button(label="Simulate")
    return button, control, parameter, seen


@app.cell
def menus(axes, choices, control, mo):
    known = choices.quantities(control.value["K"], control.value["M"])

    def menu(name):
        return mo.ui.dropdown(
            known, axes[name] if axes[name] in known else "error", label=name,
            on_change=lambda value: axes.update({name: value}),
        )  # fmt: skip

    across, upwards = menu("x"), menu("y")
    return across, upwards


@app.cell
def choose(across, choices, control, curves, parameter, refused, seen, upwards):
    wrong, chosen, view = [*refused], None, None
    try:
        chosen, view = choices.checked(
            choices.Choices(**control.value | {"rules": tuple(control.value["rules"])}),
            choices.View(seen.value, parameter.value, across.value, upwards.value),
        )
        curves.network_of(chosen)
    except ValueError as error:
        wrong.append(str(error))
        chosen = None
    return chosen, view, wrong


@app.cell
def solve(chosen, curves, mo, views, wrong):
    theory, refusals = {}, [*wrong]
    for rule in chosen.rules if chosen else ():
        with mo.status.spinner(title=f"{views.name_of(rule)}: theory", remove_on_exit=True):
            try:
                theory[rule] = curves.theory(chosen, rule)
            except ValueError as error:
                refusals.append(f"{views.name_of(rule)}: {error}")
    return refusals, theory


@app.cell
def kept(mo):
    trained, set_trained = mo.state({})
    return set_trained, trained


@app.cell
def simulate(button, chosen, curves, mo, set_trained, theory, views):
    mo.stop(not button.value or not theory)
    fresh = {}
    with mo.status.progress_bar(
        total=100 * len(theory), title="Simulation", show_rate=False, remove_on_exit=True
    ) as bar:
        for each in theory:
            what = f"{views.name_of(each)}, {chosen.n_runs} runs of N = {chosen.N}, compiled first"
            bar.update(0, subtitle=what)
            try:
                ended = curves.simulation(chosen, each, bar.update)
            except ValueError as error:
                ended = str(error)
            fresh[curves.key_of(chosen, each)] = ended
    set_trained(lambda before: before | fresh)
    return


@app.cell
def draw(chosen, curves, io, mo, refusals, theory, trained, view, views):
    found = {each: trained().get(curves.key_of(chosen, each)) for each in theory}
    runs = {each: ended for each, ended in found.items() if ended and not isinstance(ended, str)}
    told = [*refusals]
    told += [
        f"{views.name_of(each)}, simulation: {e}" for each, e in found.items() if isinstance(e, str)
    ]
    problems = mo.callout(mo.md("\n\n".join(told)), kind="danger") if told else None
    shown = None
    if theory:
        figure, notes = views.picture(chosen, view, theory, runs)
        file = io.BytesIO()
        figure.savefig(file, format="png")
        rows = views.summary(theory, runs)
        lines = [rows[0], ["---"] * len(rows[0]), *(each.values() for each in rows)]
        table = "\n".join("| " + " | ".join(each) + " |" for each in lines)
        image = mo.image(file.getvalue(), alt=f"{view.view} of {', '.join(theory)}", width="100%")
        shown = mo.vstack([image, *map(mo.md, notes), mo.md(table)])
    return problems, runs, shown


@app.cell
def give(choices, chosen, mo, runs, scripts, theory, view):
    given = None
    if theory:
        text = scripts.script(chosen, view, theory, runs)
        given = mo.vstack(
            [
                mo.md(f"[Link to this page with these choices]({choices.to_link(chosen, view)})"),
                mo.accordion({"The script that draws this": mo.md(f"```python\n{text}\n```")}),
                mo.download(text.encode(), "explored.py", "text/x-python", label="explored.py"),
            ]
        )
    return (given,)


@app.cell
def lay_out(across, button, control, given, mo, parameter, problems, seen, shown, upwards):
    asked = {"order parameters": [parameter], "phase plane": [across, upwards]}.get(seen.value, [])
    slow = mo.md(
        "*PEPITA, Forward-Forward and activations other than erf and linear are averaged over "
        "nodes, which takes seconds, or minutes for many units. All else is solved at once.*"
    )
    left = mo.vstack([*control.elements.values(), button, slow])
    right = mo.vstack(
        [
            mo.hstack([seen, *asked], justify="start"),
            problems or mo.md(""),
            shown or mo.md(""),
            given or mo.md(""),
        ]
    )
    mo.hstack([left, right], widths=[1, 3], gap=2, align="start")
    return


if __name__ == "__main__":
    app.run()
