"""From results to decisions. Reads a store (or any table), never changes a result; no torch.

what ran        runs, facts, measurements, programs, show        tables (a DataFrame), table_files, expressions, checks
laws            laws, mixture_laws, schedule_laws                law, formula (what one is), curves (of the LR)
fitting         fit                                              objective, starts, newton, search, resampling
how sure        information, profile, crossval                   fit_file
decisions       optimise, simplex, schedule_choice, isoflop      ensemble (all bootstrap draws at once)
further runs    design                                           questions, candidates, sensitivity, fisher, selection
figures         plots, plot_style, notebooks/
commands        __main__, fit_command, decide_command, next_command            progress
"""
